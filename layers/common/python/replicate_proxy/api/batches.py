"""Routes of batches: create and cancel (ingest function), read (query function)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from replicate_proxy.api.http import json_response
from replicate_proxy.api.pagination import build_page, build_page_url, decode_cursor, decode_id_cursor
from replicate_proxy.api.query_parameters import parse_limit
from replicate_proxy.auth.principal import Scope
from replicate_proxy.contracts.predictions import build_batch_view
from replicate_proxy.errors import RetryableError
from replicate_proxy.observability import logger
from replicate_proxy.services.batch_reader import BatchState
from replicate_proxy.services.batch_views import summarize_batch
from replicate_proxy.services.large_batches import LargeBatchRequest

if TYPE_CHECKING:
    from replicate_proxy.api.http import Request, Response
    from replicate_proxy.api.predictions.job_request_parser import JobRequestParser
    from replicate_proxy.api.routing import Router
    from replicate_proxy.ports import Clock
    from replicate_proxy.services.batch_list import BatchList
    from replicate_proxy.services.batch_reader import BatchReader
    from replicate_proxy.services.batch_results import BatchResults
    from replicate_proxy.services.batches import BatchService
    from replicate_proxy.services.large_batches import LargeBatchService
    from replicate_proxy.services.rendering import PredictionRenderer

# The jobs of all batches of a page are read: at most a thousand.
_MAX_LIMIT = 20
_MAX_SLICE_DIGITS = 6
# Until there may be more lines of a batch that is being expanded.
_RETRY_AFTER_SECONDS = 5


def add_batch_write_routes(
    router: Router,
    *,
    parser: JobRequestParser,
    batches: BatchService,
    large_batches: LargeBatchService,
    renderer: PredictionRenderer,
    clock: Clock,
) -> None:
    """Register `POST /v1/batches` and the cancel of a batch."""

    @router.post("/v1/batches")
    def create_batch(request: Request) -> Response:
        principal = request.principal.require(Scope.PREDICTIONS_WRITE)
        parsed = parser.parse_batch(request, principal)
        if isinstance(parsed, LargeBatchRequest):
            batch, is_replay = large_batches.create(parsed, principal)
            return _build_created(BatchState(batch, (), is_replay=is_replay), renderer, clock)
        job_requests, idempotency_key = parsed
        return _build_created(batches.create(job_requests, principal, idempotency_key), renderer, clock)

    @router.post("/v1/batches/{id}/cancel")
    def cancel_batch(request: Request) -> Response:
        tenant = request.principal.require(Scope.PREDICTIONS_WRITE).tenant
        state = batches.get(tenant, request.path_params["id"])
        if state.batch.large is not None:
            state = replace(state, batch=large_batches.cancel(tenant, state.batch.id))
        else:
            state = batches.cancel(state)
        return _build_response(200, state, renderer, clock)


def _build_created(state: BatchState, renderer: PredictionRenderer, clock: Clock) -> Response:
    headers = {"location": f"{state.batch.public_base_url}/v1/batches/{state.batch.id}"}
    if state.is_replay:
        headers["idempotent-replayed"] = "true"
    try:
        return _build_response(201, state, renderer, clock, headers)
    except RetryableError as error:
        if state.is_replay:
            raise
        # An error would make the caller create all of them again.
        logger.warning("batch not rendered, shown in short", batch_id=state.batch.id, reason=str(error))
        return json_response(201, build_batch_view(state.batch, state.jobs, ()), headers)


def add_batch_read_routes(
    router: Router,
    *,
    batches: BatchReader,
    batch_list: BatchList,
    results: BatchResults,
    renderer: PredictionRenderer,
    clock: Clock,
) -> None:
    """Register `GET /v1/batches`, `GET /v1/batches/{id}` and its results."""

    @router.get("/v1/batches", query=("limit", "cursor"))
    def list_batches(request: Request) -> Response:
        tenant = request.principal.require(Scope.PREDICTIONS_READ).tenant
        before_id = decode_id_cursor(request.query.get("cursor"))
        found = batch_list.read(tenant, before_id=before_id, limit=parse_batch_limit(request))
        now = clock.now()
        position = (found.next_before_id,) if found.next_before_id else None
        return json_response(
            200, build_page(request, [summarize_batch(state, now) for state in found.states], position)
        )

    @router.get("/v1/batches/{id}")
    def get_batch(request: Request) -> Response:
        tenant = request.principal.require(Scope.PREDICTIONS_READ).tenant
        return _build_response(200, batches.get(tenant, request.path_params["id"]), renderer, clock)

    @router.get("/v1/batches/{id}/results", query=("cursor",))
    def get_results(request: Request) -> Response:
        tenant = request.principal.require(Scope.PREDICTIONS_READ).tenant
        batch = batches.get(tenant, request.path_params["id"]).batch
        slice_number = decode_cursor(request.query.get("cursor"), _parse_slice_number) or 0
        if slice_number == 0 and (url := results.create_file_url(batch)) is not None:
            return json_response(302, None, {"location": url})
        page = results.read_page(batch, slice_number)
        headers = {"content-type": "application/jsonl", "cache-control": "no-store"}
        if page.next_slice is not None:
            url = build_page_url(request, (str(page.next_slice),))
            headers["link"] = f'<{url}>; rel="next"'
            if page.next_slice == slice_number:
                headers["retry-after"] = str(_RETRY_AFTER_SECONDS)
        return {"statusCode": 200, "headers": headers, "body": page.text, "isBase64Encoded": False}


def _parse_slice_number(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > _MAX_SLICE_DIGITS:
        raise ValueError("not the number of a slice")
    return int(text)


def parse_batch_limit(request: Request) -> int:
    """Return how many batches a page has."""
    return parse_limit(request, default=_MAX_LIMIT, maximum=_MAX_LIMIT)


def _build_response(
    status: int,
    state: BatchState,
    renderer: PredictionRenderer,
    clock: Clock,
    headers: dict[str, str] | None = None,
) -> Response:
    if state.batch.large is not None:
        return json_response(status, summarize_batch(state, clock.now()), headers)
    predictions = renderer.render_page(state.jobs)
    return json_response(status, build_batch_view(state.batch, state.jobs, predictions), headers)
