"""What the routes share."""

import base64
import json
from typing import Any, cast
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from tools.simulator.models.base import Model
from tools.simulator.problems import ProblemError, not_found
from tools.simulator.simulator import Simulator
from tools.simulator.store import Prediction


def simulator(request: Request) -> Simulator:
    """The simulator that serves the request."""
    return cast(Simulator, request.app.state.simulator)


def reply(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON reply."""
    return Response(json.dumps(body), status, headers=headers, media_type="application/json")


def prediction_of(request: Request) -> Prediction:
    """The prediction that the path names, or a 404 ProblemError."""
    prediction = simulator(request).store.get(request.path_params["id"])
    if prediction is None:
        raise not_found()
    return prediction


def named(request: Request) -> str:
    """`owner/name` of the path."""
    return f"{request.path_params['owner']}/{request.path_params['name']}"


def model_of(request: Request) -> Model:
    """The model that the path names, or a 404 ProblemError."""
    model = simulator(request).catalogue.find_by_name(named(request))
    if model is None:
        raise not_found()
    return model


def listing(results: list[Any]) -> dict[str, Any]:
    """A single page."""
    return {"next": None, "previous": None, "results": results}


def cursor_url(request: Request, position: int | None) -> str | None:
    """The absolute URL of the page beginning at that position, with the request's other parameters kept."""
    if position is None:
        return None
    cursor = base64.urlsafe_b64encode(json.dumps({"p": position}).encode()).decode()
    query = {**request.query_params, "cursor": cursor}
    return f"{simulator(request).launch.url}{request.url.path}?{urlencode(query)}"


def cursor_position(request: Request) -> int | None:
    """The position in the request's cursor; a 400 ProblemError if it is none of ours."""
    cursor = request.query_params.get("cursor")
    if cursor is None:
        return None
    try:
        return int(json.loads(base64.urlsafe_b64decode(cursor))["p"])
    except (ValueError, KeyError, TypeError) as error:
        raise ProblemError(400, "Invalid cursor") from error
