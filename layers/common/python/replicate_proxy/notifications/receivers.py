"""Receivers: a slot for each request, how they have been doing, and switching off an endpoint for good."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from replicate_proxy.clock import iso
from replicate_proxy.contracts.events import Event, EventName, EventSource
from replicate_proxy.errors import ConflictError, RetryableError
from replicate_proxy.notifications.endpoint import DisabledReason
from replicate_proxy.notifications.lane import verdict_on
from replicate_proxy.notifications.model import PREDICTION_TARGET, Delivery
from replicate_proxy.notifications.sender import Answer, Instruction
from replicate_proxy.observability import Metric, count, logger

if TYPE_CHECKING:
    from datetime import datetime

    from replicate_proxy.notifications.ports import EndpointStore, Lanes
    from replicate_proxy.notifications.settings import DeliverySettings
    from replicate_proxy.ports import EventBus

__all__ = ["Receivers"]

_ASKED = {Instruction.DISABLE_GONE: DisabledReason.GONE, Instruction.DISABLE: DisabledReason.ASKED}


class Receivers:
    """Judges an endpoint after a failure, or when its receiver asks to be left alone.

    A prediction's own webhook is no endpoint: there is nothing to switch off.
    """

    def __init__(
        self, *, lanes: Lanes, endpoints: EndpointStore, bus: EventBus, settings: DeliverySettings
    ) -> None:
        self._lanes = lanes
        self._endpoints = endpoints
        self._bus = bus
        self._settings = settings

    def enter(self, delivery: Delivery, token: str, now: datetime) -> None:
        """Takes a slot. Raises LaneFullError."""
        self._lanes.enter(delivery.tenant, delivery.lane, token, now=now)

    def leave(self, delivery: Delivery, token: str) -> None:
        """Gives a slot back that was not used."""
        self._lanes.leave(delivery.tenant, delivery.lane, token)

    def settle(self, delivery: Delivery, token: str, answer: Answer, now: datetime) -> None:
        """Gives the slot back, records how it went, and disables the endpoint where it is time to."""
        lane = self._lanes.settle(delivery.tenant, delivery.lane, token, answer=answer, now=now)
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
