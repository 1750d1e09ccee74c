"""Reading predictions, as Replicate's clients ask for it, and the service's own `GET /?predictionId=`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from replicate_proxy import __version__
from replicate_proxy.api.http import Request, Response, Router, json_response
from replicate_proxy.auth.principal import Scope
from replicate_proxy.clock import parse_timestamp
from replicate_proxy.errors import ApiError, InvalidField

if TYPE_CHECKING:
    from datetime import datetime

    from replicate_proxy.services.query import PredictionReader


_FILTERS = ("created_after", "created_before")


def query_routes(query: PredictionReader, *, public_base_url: str = "") -> Router:
    """GETs of one prediction and of pages; the plain `GET /`; health; the preflight of every path."""
    routes = Router()

    def one(request: Request, job_id: str) -> Response:
        return json_response(200, query.get(_reader(request), job_id))

    @routes.get("/v1/predictions/{id}")
    def get_prediction(request: Request) -> Response:
        return one(request, request.path_params["id"])

    @routes.get("/")
    def get_plain(request: Request) -> Response:
        wanted = request.query.get("predictionId", "")
        if not wanted:
            field = InvalidField("required", "predictionId", "predictionId is required")
            raise ApiError(400, "Missing parameter", field.description, invalid_fields=[field])
        return one(request, wanted)

    @routes.get("/v1/predictions")
    def list_predictions(request: Request) -> Response:
        tenant = _reader(request)
        page = query.list_predictions(
            tenant,
            cursor=request.query.get("cursor"),
            created_after=_time(request, "created_after"),
            created_before=_time(request, "created_before"),
        )
        base_url = public_base_url or request.base_url
        following = _page_url(base_url, request, page.next_cursor) if page.next_cursor else None
        body: dict[str, Any] = {"previous": None, "next": following, "results": page.results}
        return json_response(200, body)

    @routes.get("/health")
    def health(_: Request) -> Response:
        return json_response(200, {"status": "ok", "version": __version__})

    @routes.add("OPTIONS", "/")
    @routes.add("OPTIONS", "/{proxy+}")
    def preflight(_: Request) -> Response:
        """`Routes` adds what the origin may do; one that is not allowed finds nothing in the reply."""
        return json_response(204, None)

    return routes


def _reader(request: Request) -> str:
    return request.principal.require(Scope.PREDICTIONS_READ).tenant


def _page_url(base_url: str, request: Request, cursor: str) -> str:
    """Absolute, since clients follow it as given; the filters of the first page stay in force."""
    kept = {name: request.query[name] for name in _FILTERS if name in request.query}
    return f"{base_url}/v1/predictions?{urlencode({**kept, 'cursor': cursor})}"


def _time(request: Request, name: str) -> datetime | None:
    text = request.query.get(name)
    if not text:
        return None
    try:
        # An unescaped plus sign arrives as a space.
        return parse_timestamp(text.replace(" ", "+"))
    except ValueError:
        field = InvalidField("invalid_time", name, f"{name} must be an ISO-8601 time with an offset")
        raise ApiError(400, "Invalid parameter", field.description, invalid_fields=[field]) from None
