"""One receiver's lane: how many requests it may have under way, and how it has been doing. Pure.

Receivers: a slot for each request, how they have been doing, and switching off an endpoint for good.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from replicate_proxy.clock import format_timestamp
from replicate_proxy.contracts.events import Event, EventName, EventSource
from replicate_proxy.errors import ConflictError, ProxyError, RetryableError
from replicate_proxy.observability import Metric, count, logger
from replicate_proxy.webhooks.endpoints import DisabledReason
from replicate_proxy.webhooks.model import PREDICTION_TARGET, Delivery
from replicate_proxy.webhooks.sender import Answer, Instruction

if TYPE_CHECKING:
    from replicate_proxy.ports import EventBus
    from replicate_proxy.webhooks.ports import EndpointStore, Lanes
    from replicate_proxy.webhooks.retry_policy import DeliverySettings


class LaneFullError(ProxyError):
    """Every slot is taken: wait, longer the more requests in a row (`hangs`) got no answer."""

    def __init__(self, hangs: int) -> None:
        super().__init__("the receiver has as many requests under way as it may have")
        self.hangs = hangs


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """`hangs` counts the requests in a row that ended without any answer."""

    in_flight: int = 0
    hangs: int = 0
    failures_in_a_row: int = 0
    failing_since: datetime | None = None
    last_success_at: datetime | None = None


def slots_after(hangs: int, most: int) -> int:
    """A receiver that does not answer loses three quarters of its slots each time, down to a single probe."""
    return max(1, most >> (2 * min(hangs, 8)))


def waiting_seconds(hangs: int, settings: DeliverySettings) -> float:
    """How long to wait for a slot, without spending a try: the longer the deader the receiver looks."""
    if hangs == 0:
        return settings.lane_wait
    return min(settings.slow_lane_wait * 2.0 ** min(hangs - 1, 16), settings.longest_lane_wait)


def verdict_on(lane: Lane, settings: DeliverySettings, now: datetime) -> DisabledReason | None:
    """Whether an endpoint that just failed again has failed for long enough to be disabled."""
    if lane.failing_since is None:
        return None
    span = now - lane.failing_since
    if span >= timedelta(seconds=settings.disable_after):
        return DisabledReason.FAILING
    too_many = lane.failures_in_a_row >= settings.disable_after_failures
    if too_many and span >= timedelta(seconds=settings.disable_min_span):
        return DisabledReason.TOO_MANY_FAILURES
    return None


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
            "disabled_at": format_timestamp(now),
        }
        event = Event.create(
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
