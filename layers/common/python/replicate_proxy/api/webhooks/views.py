"""JSON shapes of the webhook API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from replicate_proxy.api.pagination import encode_cursor
from replicate_proxy.clock import format_optional_timestamp, format_timestamp
from replicate_proxy.webhooks.model import (
    PREDICTION_TARGET,
    Attempt,
    AttemptResult,
    Delivery,
    build_delivery_id,
)

if TYPE_CHECKING:
    from replicate_proxy.webhooks.endpoints import Endpoint
    from replicate_proxy.webhooks.receiver_limits import ReceiverHealth
    from replicate_proxy.webhooks.redelivery import RedeliveryResult


def build_endpoint_view(endpoint: Endpoint) -> dict[str, Any]:
    """Return the endpoint without its signing secrets."""
    return {
        "id": endpoint.id,
        "url": endpoint.url,
        "events": [kind.value for kind in endpoint.events],
        "description": endpoint.description,
        "status": "enabled" if endpoint.is_enabled else "disabled",
        "disabled_reason": endpoint.disabled_reason.value if endpoint.disabled_reason else None,
        "disabled_at": format_optional_timestamp(endpoint.disabled_at),
        "created_at": format_timestamp(endpoint.created_at),
        "updated_at": format_timestamp(endpoint.updated_at),
    }


def build_health_view(health: ReceiverHealth) -> dict[str, Any]:
    """Return the `health` part of an endpoint."""
    return {
        "in_flight": health.in_flight,
        "consecutive_failures": health.consecutive_failures,
        "failing_since": format_optional_timestamp(health.failing_since),
        "last_success_at": format_optional_timestamp(health.last_success_at),
    }


def build_delivery_view(delivery: Delivery) -> dict[str, Any]:
    """Return the delivery. `endpoint` is null and `url` is set for the webhook of a prediction itself."""
    return {
        "id": delivery.id,
        "prediction": delivery.job_id,
        "endpoint": None if delivery.target == PREDICTION_TARGET else delivery.target,
        "url": delivery.url,
        "event": delivery.kind.value,
        "sequence": delivery.sequence,
        "webhook_id": delivery.message_id,
        "status": delivery.status.value,
        "reason": delivery.failure_reason.value if delivery.failure_reason else None,
        "attempts": delivery.total_attempts,
        "created_at": format_timestamp(delivery.created_at),
        "next_attempt_at": format_optional_timestamp(
            delivery.next_attempt_at if delivery.is_pending else None
        ),
        "finished_at": format_optional_timestamp(delivery.finished_at),
    }


def build_attempt_view(attempt: Attempt) -> dict[str, Any]:
    """Return the delivery attempt. `response` is the beginning of the receiver's response body."""
    return {
        "delivery": build_delivery_id(attempt.job_id, attempt.sequence, attempt.target),
        "number": attempt.number,
        "at": format_timestamp(attempt.sent_at),
        "succeeded": attempt.result is AttemptResult.DELIVERED,
        "status": attempt.status,
        "error": attempt.error_code,
        "duration_ms": attempt.duration_ms,
        "response": attempt.response_body,
        "next_attempt_at": format_optional_timestamp(attempt.next_attempt_at),
    }


def build_redelivery_view(result: RedeliveryResult) -> dict[str, Any]:
    """Return the number of deliveries that were queued; `cursor` is null once all are."""
    position = result.next_position
    return {"redelivered": result.count, "cursor": encode_cursor(position) if position else None}
