"""Routes that cancel and delete predictions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicate_proxy.api.http import json_response
from replicate_proxy.auth.principal import Scope

if TYPE_CHECKING:
    from replicate_proxy.api.http import Request, Response
    from replicate_proxy.api.routing import Router
    from replicate_proxy.deletion.deleter import JobDeleter
    from replicate_proxy.services.cancel import JobCanceler
    from replicate_proxy.services.rendering import PredictionRenderer


def add_prediction_end_routes(
    router: Router, *, canceler: JobCanceler, deleter: JobDeleter, renderer: PredictionRenderer
) -> None:
    """Register the cancel of a prediction and its deletion."""

    @router.post("/v1/predictions/{id}/cancel")
    def cancel_prediction(request: Request) -> Response:
        tenant = request.principal.require(Scope.PREDICTIONS_WRITE).tenant
        job = canceler.cancel_job(tenant, request.path_params["id"])
        return json_response(200, renderer.render(job))

    @router.delete("/v1/predictions/{id}")
    def delete_prediction(request: Request) -> Response:
        tenant = request.principal.require(Scope.PREDICTIONS_WRITE).tenant
        deleter.delete(tenant, request.path_params["id"])
        return json_response(204, None)
