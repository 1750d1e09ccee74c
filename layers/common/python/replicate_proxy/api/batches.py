"""Batches over HTTP: creating and cancelling in ingest, reading in query."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicate_proxy.api.http import Request, Response, Router, json_response
from replicate_proxy.auth.principal import Scope
from replicate_proxy.contracts.predictions import build_batch_view

if TYPE_CHECKING:
    from replicate_proxy.api.predictions.create_request import JobRequestParser
    from replicate_proxy.services.batches import BatchReader, BatchService, BatchState
    from replicate_proxy.services.rendering import PredictionRenderer


def add_batch_write_routes(
    routes: Router, *, reader: JobRequestParser, batches: BatchService, views: PredictionRenderer
) -> None:
    """Adds `POST /v1/batches` and the cancel of one."""

    @routes.post("/v1/batches")
    def create_batch(request: Request) -> Response:
        principal = request.principal.require(Scope.PREDICTIONS_WRITE)
        news, key = reader.parse_batch(request, principal)
        state = batches.create(news, principal, key)
        headers = {"location": f"{state.batch.public_base_url}/v1/batches/{state.batch.id}"}
        if state.is_replay:
            headers["idempotent-replayed"] = "true"
        return _reply(201, state, views, headers)

    @routes.post("/v1/batches/{id}/cancel")
    def cancel_batch(request: Request) -> Response:
        tenant = request.principal.require(Scope.PREDICTIONS_WRITE).tenant
        return _reply(200, batches.cancel(tenant, request.path_params["id"]), views)


def add_batch_read_routes(routes: Router, *, batches: BatchReader, views: PredictionRenderer) -> None:
    """Adds `GET /v1/batches/{id}`."""

    @routes.get("/v1/batches/{id}")
    def get_batch(request: Request) -> Response:
        tenant = request.principal.require(Scope.PREDICTIONS_READ).tenant
        return _reply(200, batches.get(tenant, request.path_params["id"]), views)


def _reply(
    status: int, state: BatchState, views: PredictionRenderer, headers: dict[str, str] | None = None
) -> Response:
    return json_response(
        status, build_batch_view(state.batch, state.jobs, views.render_page(state.jobs)), headers or {}
    )
