"""Routes of bulk operations: one action on all jobs that match a filter."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from replicate_proxy.api.admin.bodies import BulkOperationBody
from replicate_proxy.api.admin.job_filters import parse_filter_fields
from replicate_proxy.api.http import json_response
from replicate_proxy.api.pagination import build_page, decode_id_cursor
from replicate_proxy.api.predictions.headers import parse_idempotency_key
from replicate_proxy.api.query_parameters import parse_limit
from replicate_proxy.api.validation import parse_body
from replicate_proxy.auth.principal import Scope
from replicate_proxy.clock import format_optional_timestamp, format_timestamp
from replicate_proxy.errors import NotFoundError
from replicate_proxy.ids import is_id
from replicate_proxy.operations.bulk.model import JobOutcome, describe_filter
from replicate_proxy.operations.bulk.service import IdempotencyKey

if TYPE_CHECKING:
    from replicate_proxy.api.http import Request, Response
    from replicate_proxy.api.routing import Router
    from replicate_proxy.operations.bulk.model import BulkOperation
    from replicate_proxy.operations.bulk.service import BulkService, Preview
    from replicate_proxy.ports import Clock

_DEFAULT_LIMIT = 20
_MAX_LIMIT = 100
_OPERATIONS = "/admin/bulk-operations"


def add_bulk_operation_routes(router: Router, operations: BulkService, clock: Clock) -> None:
    """Register the routes of bulk operations."""

    @router.post(_OPERATIONS)
    def start_bulk_operation(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        body = parse_body(BulkOperationBody, request.json())
        job_filter = parse_filter_fields(body.filter.to_texts(), clock.now())
        if body.expected_count is None:
            return json_response(200, build_preview_view(operations.preview(body.action, job_filter)))
        result = operations.start(
            body.action, job_filter, body.expected_count, idempotency_key=_parse_key(request, body)
        )
        view = build_operation_view(result.operation)
        if result.is_replay:
            return json_response(200, view, {"idempotent-replayed": "true"})
        return json_response(202, view)

    @router.get(_OPERATIONS, query=("limit", "cursor"))
    def list_bulk_operations(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        limit = parse_limit(request, default=_DEFAULT_LIMIT, maximum=_MAX_LIMIT)
        before_id = decode_id_cursor(request.query.get("cursor"))
        found = operations.list_newest(before_id=before_id, limit=limit + 1)
        page = found[:limit]
        next_position = (page[-1].id,) if len(found) > limit else None
        return json_response(200, build_page(request, list(map(build_operation_view, page)), next_position))

    @router.get(f"{_OPERATIONS}/{{id}}")
    def get_bulk_operation(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        return json_response(200, build_operation_view(operations.get(parse_operation_id(request))))

    @router.post(f"{_OPERATIONS}/{{id}}/cancel")
    def cancel_bulk_operation(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        return json_response(200, build_operation_view(operations.cancel(parse_operation_id(request))))


def build_preview_view(preview: Preview) -> dict[str, Any]:
    """Return what an operation would act on, in the form in which it is confirmed."""
    return {
        "action": preview.action.value,
        "filter": describe_filter(preview.filter),
        "matched": len(preview.matches.entries),
        "complete": preview.matches.is_complete,
    }


def build_operation_view(operation: BulkOperation) -> dict[str, Any]:
    """Return the operation with its progress."""
    return {
        "id": operation.id,
        "action": operation.action.value,
        "filter": describe_filter(operation.filter),
        "status": operation.status.value,
        "matched": operation.matched,
        "done": operation.done,
        "skipped": operation.skipped,
        "failed": operation.failed,
        "remaining": operation.matched - operation.position,
        "failures": _build_reasons_view(operation, JobOutcome.FAILED),
        "skips": _build_reasons_view(operation, JobOutcome.SKIPPED),
        "error": operation.error,
        "started_at": format_timestamp(operation.started_at),
        "ended_at": format_optional_timestamp(operation.ended_at),
        "started_by": {"key_id": operation.key_id, "source": operation.source.value},
        "canceled_by": operation.canceled_by,
        "correlation_id": operation.correlation_id,
    }


def parse_operation_id(request: Request) -> str:
    """Return the ID in the path. Raises NotFoundError if it cannot be one."""
    operation_id = request.path_params["id"]
    if not is_id(operation_id):
        raise NotFoundError("no such bulk operation")
    return operation_id


def _build_reasons_view(operation: BulkOperation, outcome: JobOutcome) -> list[dict[str, Any]]:
    return [
        {
            "reason": each.reason,
            "count": each.count,
            "jobs": [{"tenant": key.tenant, "id": key.id} for key in each.samples],
        }
        for each in operation.reasons
        if each.outcome is outcome
    ]


def _parse_key(request: Request, body: BulkOperationBody) -> IdempotencyKey | None:
    key = parse_idempotency_key(request)
    if key is None:
        return None
    text = json.dumps(body.model_dump(mode="json"), sort_keys=True)
    return IdempotencyKey(key, hashlib.sha256(text.encode()).hexdigest())
