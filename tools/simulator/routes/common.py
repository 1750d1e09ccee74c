"""Helpers that the routes share: access to the simulator, JSON responses, look-ups by path, pagination."""

import base64
import json
from collections.abc import Iterable
from typing import Any, cast
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from tools.simulator.models.model import Model
from tools.simulator.predictions import Prediction
from tools.simulator.problems import ProblemError, not_found_error
from tools.simulator.simulator import Simulator


def get_simulator(request: Request) -> Simulator:
    """Return the simulator that serves the request."""
    return cast(Simulator, request.app.state.simulator)


def json_response(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Return a JSON response."""
    return Response(json.dumps(body), status, headers=headers, media_type="application/json")


def get_prediction(request: Request) -> Prediction:
    """Return the prediction that the path names. Raises a 404 problem."""
    prediction = get_simulator(request).predictions.get(request.path_params["id"])
    # The control API, which has no account, shows all of them.
    if prediction is None or get_account(request) not in {prediction.account, None}:
        raise not_found_error()
    return prediction


def get_account(request: Request) -> str | None:
    """Return the name of the account whose token the request carries, None for the control API."""
    account: str | None = request.scope.get("account")
    return account


def check_visible(request: Request, model: Model) -> Model:
    """Return the model. Raises a 404 problem if it is private to another account."""
    account = get_account(request)
    if account is not None and not get_simulator(request).settings.is_visible(model.full_name, account):
        raise not_found_error()
    return model


def select_visible(request: Request, models: Iterable[Model]) -> list[Model]:
    """Return the models that are not private to another account."""
    settings, account = get_simulator(request).settings, get_account(request)
    return [model for model in models if account is None or settings.is_visible(model.full_name, account)]


def get_full_name(request: Request) -> str:
    """Return `owner/name` of the path."""
    return f"{request.path_params['owner']}/{request.path_params['name']}"


def get_model(request: Request) -> Model:
    """Return the model that the path names. Raises a 404 problem."""
    model = get_simulator(request).catalog.find_by_name(get_full_name(request))
    if model is None:
        raise not_found_error()
    return check_visible(request, model)


def build_page_url(request: Request, position: int | None) -> str | None:
    """Return the absolute URL of the page that starts at `position`, with the other parameters unchanged."""
    if position is None:
        return None
    cursor = base64.urlsafe_b64encode(json.dumps({"p": position}).encode()).decode()
    query = {**request.query_params, "cursor": cursor}
    return f"{get_simulator(request).launch.public_url}{request.url.path}?{urlencode(query)}"


def parse_cursor(request: Request) -> int | None:
    """Return the position in the request's cursor, None without one. Raises a 400 problem if invalid."""
    cursor = request.query_params.get("cursor")
    if cursor is None:
        return None
    try:
        return int(json.loads(base64.urlsafe_b64decode(cursor))["p"])
    except (ValueError, KeyError, TypeError) as error:
        raise ProblemError(400, "Invalid cursor") from error


def build_page(request: Request, results: list[Any]) -> dict[str, Any]:
    """Return the page of the list that the request's cursor names, by default the first."""
    size = get_simulator(request).settings.page_size
    start = parse_cursor(request) or 0
    return {
        "next": build_page_url(request, start + size if start + size < len(results) else None),
        "previous": build_page_url(request, max(0, start - size) if start > 0 else None),
        "results": results[start : start + size],
    }
