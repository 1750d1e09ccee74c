"""Switching an endpoint off: when its receiver asks for it, or when it has failed for too long."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from replicate_proxy.clock import iso
from replicate_proxy.contracts.events import Event, EventName, EventSource
from replicate_proxy.errors import ConflictError, RetryableError
from replicate_proxy.notifications.endpoint import DisabledReason
from replicate_proxy.notifications.lane import Lane, verdict_on
from replicate_proxy.notifications.model import PREDICTION_TARGET, Delivery
from replicate_proxy.notifications.sender import Answer, Instruction
from replicate_proxy.observability import Metric, count, logger

if TYPE_CHECKING:
    from datetime import datetime

    from replicate_proxy.notifications.ports import EndpointStore
    from replicate_proxy.notifications.settings import DeliverySettings
    from replicate_proxy.ports import EventBus

__all__ = ["EndpointHealth"]

_ASKED = {Instruction.DISABLE_GONE: DisabledReason.GONE, Instruction.DISABLE: DisabledReason.ASKED}


class EndpointHealth:
    """Judges an endpoint after a failure, or when its receiver asks to be left alone.

    A prediction's own webhook is no endpoint: there is nothing to switch off.
    """

    def __init__(self, *, endpoints: EndpointStore, bus: EventBus, settings: DeliverySettings) -> None:
        self._endpoints = endpoints
        self._bus = bus
        self._settings = settings

    def after_attempt(self, delivery: Delivery, lane: Lane, answer: Answer, now: datetime) -> None:
        """Disables the endpoint where it is time to."""
        if delivery.target == PREDICTION_TARGET:
            return
        asked = _ASKED.get(answer.instruction) if answer.instruction else None
        reason = asked or verdict_on(lane, self._settings, now)
        if reason is not None:
            self._disable(delivery, reason, now)

    def _disable(self, delivery: Delivery, reason: DisabledReason, now: datetime) -> None:
        endpoint = self._endpoints.get(delivery.tenant, delivery.target)
        if endpoint is None or not endpoint.is_enabled:
            return
        try:
            self._endpoints.save(replace(endpoint, disabled_reason=reason, disabled_at=now, updated_at=now))
        except ConflictError:
            return  # its owner changed it this moment: the next failure judges the changed one
        logger.warning("endpoint disabled", endpoint_id=endpoint.id, reason=reason)
        count(Metric.ENDPOINT_DISABLED)
        data = {
            "tenant": endpoint.tenant,
            "endpoint_id": endpoint.id,
            "reason": reason,
            "disabled_at": iso(now),
        }
        event = Event.new(
            EventName.ENDPOINT_DISABLED,
            EventSource.JOBS,
            correlation_id=delivery.correlation_id,
            now=now,
            data=data,
        )
        try:
            self._bus.publish([event])
        except RetryableError:
            logger.exception("event of a disabled endpoint not published", endpoint_id=endpoint.id)
