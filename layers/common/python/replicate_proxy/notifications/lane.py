"""One receiver's lane: how many requests it may have under way, and how it has been doing. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from replicate_proxy.errors import ProxyError
from replicate_proxy.notifications.endpoint import DisabledReason

if TYPE_CHECKING:
    from replicate_proxy.notifications.settings import DeliverySettings

__all__ = ["Lane", "LaneFullError", "slots_after", "verdict_on", "waiting_seconds"]


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
