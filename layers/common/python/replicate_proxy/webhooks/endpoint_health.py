"""Record each response of a receiver, and disable an endpoint that keeps failing or asks for it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from replicate_proxy.clock import format_timestamp
from replicate_proxy.contracts.events import Event, EventName, EventSource
from replicate_proxy.errors import ConflictError, RetryableError
from replicate_proxy.observability import Metric, count, logger
from replicate_proxy.webhooks.endpoints import DisabledReason
from replicate_proxy.webhooks.model import PREDICTION_TARGET, Delivery
from replicate_proxy.webhooks.sender import ReceiverInstruction, ReceiverResponse

if TYPE_CHECKING:
    from replicate_proxy.ports import EventBus
    from replicate_proxy.webhooks.ports import EndpointStore, ReceiverLimitStore
    from replicate_proxy.webhooks.receiver_limits import ReceiverHealth
    from replicate_proxy.webhooks.settings import DeliverySettings


_REASON_BY_INSTRUCTION = {
    ReceiverInstruction.GONE: DisabledReason.GONE,
    ReceiverInstruction.DISABLE: DisabledReason.REQUESTED_BY_RECEIVER,
}


class EndpointHealth:
    """Tracks whether receivers respond. Only endpoints are disabled, never a prediction's own webhook."""

    def __init__(
        self,
        *,
        receiver_limits: ReceiverLimitStore,
        endpoints: EndpointStore,
        bus: EventBus,
        settings: DeliverySettings,
    ) -> None:
        self._receiver_limits = receiver_limits
        self._endpoints = endpoints
        self._bus = bus
        self._settings = settings

    def record_response(
        self, delivery: Delivery, slot_token: str, response: ReceiverResponse, now: datetime, *, url: str
    ) -> None:
        """Release the slot of a request, record its response, and disable the endpoint if it is time to.

        `url` is the one that was called.
        """
        health = self._receiver_limits.record_response(
            delivery.tenant, delivery.receiver_id, slot_token, response=response, now=now
        )
        if delivery.target == PREDICTION_TARGET:
            return
        requested = _REASON_BY_INSTRUCTION.get(response.instruction) if response.instruction else None
        reason = requested or find_disable_reason(health, self._settings, now)
        if reason is not None:
            self._disable(delivery, reason, now, url=url, is_requested=requested is not None)

    def _disable(
        self, delivery: Delivery, reason: DisabledReason, now: datetime, *, url: str, is_requested: bool
    ) -> None:
        """Disable the endpoint, unless the tenant has changed its URL since the request.

        Raises ConflictError if it has changed meanwhile, but the receiver asked for it.
        """
        endpoint = self._endpoints.get(delivery.tenant, delivery.target)
        if endpoint is None or not endpoint.is_enabled or endpoint.url != url:
            return
        try:
            self._endpoints.save(replace(endpoint, disabled_reason=reason, disabled_at=now, updated_at=now))
        except ConflictError:
            if is_requested:
                raise
            return  # The tenant changed it at the same time: the next failure decides about the new version.
        logger.warning("endpoint disabled", endpoint_id=endpoint.id, reason=reason)
        count(Metric.ENDPOINT_DISABLED)
        event = Event.create(
            EventName.ENDPOINT_DISABLED,
            EventSource.JOBS,
            correlation_id=delivery.correlation_id,
            now=now,
            data={
                "tenant": endpoint.tenant,
                "endpoint_id": endpoint.id,
                "reason": reason,
                "disabled_at": format_timestamp(now),
            },
        )
        try:
            self._bus.publish([event])
        except RetryableError:
            logger.exception("endpoint disabled event not published", endpoint_id=endpoint.id)


def find_disable_reason(
    health: ReceiverHealth, settings: DeliverySettings, now: datetime
) -> DisabledReason | None:
    """Return why an endpoint with this health must be disabled, or None."""
    if health.failing_since is None:
        return None
    failing_for = now - health.failing_since
    if failing_for >= timedelta(seconds=settings.disable_after_seconds):
        return DisabledReason.FAILING_TOO_LONG
    has_too_many = health.consecutive_failures >= settings.disable_after_failures
    if has_too_many and failing_for >= timedelta(seconds=settings.disable_min_span_seconds):
        return DisabledReason.TOO_MANY_FAILURES
    return None
