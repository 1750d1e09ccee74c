"""Batches over HTTP: creating and cancelling in ingest, reading in query."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicate_proxy.api.http import Request, Response, Routes, json_response
from replicate_proxy.auth.principal import Scope
from replicate_proxy.contracts.predictions import batch_view

if TYPE_CHECKING:
    from replicate_proxy.api.predictions.create_request import CreateReader
    from replicate_proxy.services.batches import Batches, BatchIngest, BatchState
    from replicate_proxy.services.rendering import Views


def batch_ingest_routes(routes: Routes, *, reader: CreateReader, batches: BatchIngest, views: Views) -> None:
    """Adds `POST /v1/batches` and the cancel of one."""

    @routes.post("/v1/batches")
    def create_batch(request: Request) -> Response:
        principal = request.principal.require(Scope.PREDICTIONS_WRITE)
        news, key = reader.read_batch(request, principal)
        state = batches.accept(news, principal, key)
        headers = {"location": f"{state.batch.base_url}/v1/batches/{state.batch.id}"}
        if state.replayed:
            headers["idempotent-replayed"] = "true"
        return _reply(201, state, views, headers)

    @routes.post("/v1/batches/{id}/cancel")
    def cancel_batch(request: Request) -> Response:
        tenant = request.principal.require(Scope.PREDICTIONS_WRITE).tenant
        return _reply(200, batches.cancel(tenant, request.params["id"]), views)


def batch_query_routes(routes: Routes, *, batches: Batches, views: Views) -> None:
    """Adds `GET /v1/batches/{id}`."""

    @routes.get("/v1/batches/{id}")
    def get_batch(request: Request) -> Response:
        tenant = request.principal.require(Scope.PREDICTIONS_READ).tenant
        return _reply(200, batches.state(tenant, request.params["id"]), views)


def _reply(status: int, state: BatchState, views: Views, headers: dict[str, str] | None = None) -> Response:
    return json_response(
        status, batch_view(state.batch, state.jobs, views.render_page(state.jobs)), headers or {}
    )
