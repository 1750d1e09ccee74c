"""Build the deliveries of a new event. No I/O."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from replicate_proxy.webhooks.model import PREDICTION_TARGET, Delivery, DeliveryStatus, FailureReason

if TYPE_CHECKING:
    from datetime import datetime

    from replicate_proxy.webhooks.endpoints import Endpoint
    from replicate_proxy.webhooks.events import JobEvent
    from replicate_proxy.webhooks.settings import DeliverySettings


def build_delivery(
    event: JobEvent,
    endpoint: Endpoint | None,
    *,
    tenant: str,
    job_id: str,
    webhook: str | None,
    correlation_id: str,
    now: datetime,
    settings: DeliverySettings,
) -> Delivery:
    """Return a delivery to an endpoint or, if it is None, to the `webhook` of the prediction or batch.

    A delivery to a disabled endpoint has failed already: it can be redelivered once the endpoint is enabled.
    """
    is_disabled = endpoint is not None and not endpoint.is_enabled
    return Delivery(
        tenant=tenant,
        job_id=job_id,
        sequence=event.sequence,
        target=endpoint.id if endpoint is not None else PREDICTION_TARGET,
        kind=event.kind,
        message_id=event.message_id,
        url=webhook if endpoint is None else None,
        created_at=now,
        schedule_started_at=now,
        next_attempt_at=now,
        due_at=None if is_disabled else now + timedelta(seconds=settings.requeue_after_seconds),
        expires_at=settings.calculate_expiry(now),
        status=DeliveryStatus.FAILED if is_disabled else DeliveryStatus.PENDING,
        failure_reason=FailureReason.ENDPOINT_DISABLED if is_disabled else None,
        finished_at=now if is_disabled else None,
        correlation_id=correlation_id,
    )
