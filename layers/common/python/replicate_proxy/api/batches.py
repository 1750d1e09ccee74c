"""Routes of batches: create and cancel (ingest function), read (query function)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from replicate_proxy.api.http import json_response
from replicate_proxy.api.pagination import build_page, decode_id_cursor
from replicate_proxy.auth.principal import Scope
from replicate_proxy.contracts.predictions import build_batch_summary, build_batch_view
from replicate_proxy.errors import parameter_error

if TYPE_CHECKING:
    from replicate_proxy.api.http import Request, Response
    from replicate_proxy.api.predictions.job_request_parser import JobRequestParser
    from replicate_proxy.api.routing import Router
    from replicate_proxy.services.batch_list import BatchList
    from replicate_proxy.services.batches import BatchService
    from replicate_proxy.services.query import BatchReader, BatchState
    from replicate_proxy.services.rendering import PredictionRenderer

# The jobs of all batches of a page are read: at most a thousand.
_MAX_LIMIT = 20
_LIMIT_PATTERN = re.compile(r"[0-9]{1,3}")


def add_batch_write_routes(
    router: Router, *, parser: JobRequestParser, batches: BatchService, renderer: PredictionRenderer
) -> None:
    """Register `POST /v1/batches` and the cancel of a batch."""

    @router.post("/v1/batches")
    def create_batch(request: Request) -> Response:
        principal = request.principal.require(Scope.PREDICTIONS_WRITE)
        job_requests, idempotency_key = parser.parse_batch(request, principal)
        state = batches.create(job_requests, principal, idempotency_key)
        headers = {"location": f"{state.batch.public_base_url}/v1/batches/{state.batch.id}"}
        if state.is_replay:
            headers["idempotent-replayed"] = "true"
        return _build_response(201, state, renderer, headers)

    @router.post("/v1/batches/{id}/cancel")
    def cancel_batch(request: Request) -> Response:
        tenant = request.principal.require(Scope.PREDICTIONS_WRITE).tenant
        return _build_response(200, batches.cancel(tenant, request.path_params["id"]), renderer)


def add_batch_read_routes(
    router: Router, *, batches: BatchReader, batch_list: BatchList, renderer: PredictionRenderer
) -> None:
    """Register `GET /v1/batches` and `GET /v1/batches/{id}`."""

    @router.get("/v1/batches", query=("limit", "cursor"))
    def list_batches(request: Request) -> Response:
        tenant = request.principal.require(Scope.PREDICTIONS_READ).tenant
        before_id = decode_id_cursor(request.query.get("cursor") or None)
        found = batch_list.read(tenant, before_id=before_id, limit=parse_batch_limit(request))
        results = [build_batch_summary(state.batch, state.jobs) for state in found.states]
        position = (found.next_before_id,) if found.next_before_id else None
        return json_response(200, build_page(request, results, position))

    @router.get("/v1/batches/{id}")
    def get_batch(request: Request) -> Response:
        tenant = request.principal.require(Scope.PREDICTIONS_READ).tenant
        return _build_response(200, batches.get(tenant, request.path_params["id"]), renderer)


def parse_batch_limit(request: Request) -> int:
    """Return how many batches a page has."""
    text = request.query.get("limit", str(_MAX_LIMIT))
    if not _LIMIT_PATTERN.fullmatch(text) or not 1 <= int(text) <= _MAX_LIMIT:
        raise parameter_error("limit", f"must be a whole number from 1 to {_MAX_LIMIT}")
    return int(text)


def _build_response(
    status: int, state: BatchState, renderer: PredictionRenderer, headers: dict[str, str] | None = None
) -> Response:
    predictions = renderer.render_page(state.jobs)
    return json_response(status, build_batch_view(state.batch, state.jobs, predictions), headers)
