"""Routes that read predictions: Replicate's own, and the plain `GET /?predictionId=`."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Self

from replicate_proxy.api.http import json_response
from replicate_proxy.api.pagination import build_page, decode_cursor, require_id
from replicate_proxy.api.predictions.list_filters import FILTER_PARAMETERS, parse_list_filter
from replicate_proxy.auth.principal import Scope
from replicate_proxy.errors import parameter_error

if TYPE_CHECKING:
    from replicate_proxy.api.http import Request, Response
    from replicate_proxy.api.routing import Router
    from replicate_proxy.services.prediction_list import PredictionList
    from replicate_proxy.services.query import PredictionReader


_NEWER = "newer"


class PagePosition(NamedTuple):
    """Which page: the predictions before an ID, those after an ID, or, without either, the newest."""

    before_id: str | None = None
    after_id: str | None = None

    @classmethod
    def parse(cls, prediction_id: str, direction: str = "") -> Self:
        """Return the position in a cursor. Raises ValueError for one that no page names."""
        if direction not in {"", _NEWER}:
            raise ValueError("not a direction")
        require_id(prediction_id)
        return cls(after_id=prediction_id) if direction else cls(before_id=prediction_id)


def add_prediction_read_routes(router: Router, reader: PredictionReader, predictions: PredictionList) -> None:
    """Register the reads of one prediction and of the caller's list."""

    @router.get("/v1/predictions/{id}")
    def get_prediction(request: Request) -> Response:
        tenant = request.principal.require(Scope.PREDICTIONS_READ).tenant
        return json_response(200, reader.get(tenant, request.path_params["id"]))

    @router.get("/", query=("predictionId",))
    def get_plain(request: Request) -> Response:
        prediction_id = request.query.get("predictionId", "")
        if not prediction_id:
            raise parameter_error("predictionId", "is required", error_type="required")
        tenant = request.principal.require(Scope.PREDICTIONS_READ).tenant
        return json_response(200, reader.get(tenant, prediction_id))

    @router.get("/v1/predictions", query=("cursor", *FILTER_PARAMETERS))
    def list_predictions(request: Request) -> Response:
        tenant = request.principal.require(Scope.PREDICTIONS_READ).tenant
        position = decode_cursor(request.query.get("cursor"), PagePosition.parse) or PagePosition()
        page = predictions.read(
            tenant, parse_list_filter(request), before_id=position.before_id, after_id=position.after_id
        )
        next_position = (page.next_before_id,) if page.next_before_id else None
        previous_position = (page.previous_after_id, _NEWER) if page.previous_after_id else None
        return json_response(200, build_page(request, page.results, next_position, previous_position))
