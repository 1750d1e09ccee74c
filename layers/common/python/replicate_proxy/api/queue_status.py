"""`GET /v1/status`: the caller's own queue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from replicate_proxy.api.http import json_response
from replicate_proxy.auth.principal import Scope
from replicate_proxy.clock import format_optional_timestamp, format_timestamp

if TYPE_CHECKING:
    from replicate_proxy.api.http import Request, Response
    from replicate_proxy.api.routing import Router
    from replicate_proxy.pauses.pause import Pause
    from replicate_proxy.services.queue_status import QueueStatus, QueueStatusReader


def add_queue_status_routes(router: Router, reader: QueueStatusReader) -> None:
    """Register the read of the caller's queue."""

    @router.get("/v1/status", query=())
    def get_status(request: Request) -> Response:
        tenant = request.principal.require(Scope.PREDICTIONS_READ).tenant
        return json_response(200, build_queue_status_view(reader.read(tenant)))


def build_queue_status_view(status: QueueStatus) -> dict[str, Any]:
    """Return the state of a queue as JSON."""
    jobs, creates, breaker, limit = status.jobs, status.creates, status.breaker, status.limit
    oldest = jobs.oldest_queued_at
    return {
        "at": format_timestamp(status.at),
        "predictions": {
            "unfinished": {name.value: number for name, number in jobs.unfinished.items()},
            "queued_for": {reason.value: number for reason, number in sorted(jobs.queued_for.items())},
            "looked_at": jobs.looked_at,
            "complete": jobs.is_complete,
            "oldest_queued_at": format_optional_timestamp(oldest),
            "oldest_queued_seconds": max(round((status.at - oldest).total_seconds()), 0) if oldest else None,
        },
        "paused": {
            "predictions": _build_pause(status.predictions_paused),
            "deliveries": _build_pause(status.deliveries_paused),
        },
        "concurrency": None
        if limit is None
        else {
            "max_concurrency": limit.max_concurrency,
            "in_use": limit.in_use,
            "in_line": limit.in_line,
        },
        "replicate": {
            "account": status.account.name or None,
            "rate_limit": {
                "limit_per_minute": creates.limit_per_minute,
                "limited_until": format_optional_timestamp(creates.retry_at),
                "reduced_until": format_optional_timestamp(creates.reduced_until),
            },
            "circuit_breaker": {
                "state": breaker.state,
                "open_since": format_optional_timestamp(breaker.opened_at if breaker.is_open else None),
                "open_until": format_optional_timestamp(breaker.open_until if breaker.is_open else None),
            },
        },
    }


def _build_pause(pause: Pause | None) -> dict[str, str] | None:
    return None if pause is None else {"mode": pause.mode.value, "since": pause.since, "reason": pause.reason}
