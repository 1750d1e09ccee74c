"""The numbers of delivery, each with its environment variable. Pure.

When the next attempt goes out. Pure but for the die it is given.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from replicate_proxy.config import Env
from replicate_proxy.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


# Standard Webhooks specification, "Retry schedule": ten attempts in 75 hours; seconds between them.
SCHEDULE = (0.0, 5.0, 300.0, 1800.0, 7200.0, 18000.0, 36000.0, 50400.0, 72000.0, 86400.0)
_DAY = 86400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliverySettings:
    """Seconds and bytes unless the name says otherwise. `jitter` 0.2 means ±20 %.

    `handover` is how long the sweep leaves a delivery to the queue before it sends it again. `order_patience`
    is how long a later event of a job waits for an earlier one that the receiver keeps refusing. `lane_slots`
    is how many requests one endpoint may have under way at once. `disable_after_failures` in a row disable an
    endpoint once they span `disable_min_span`, so that a restart under load does not.
    """

    schedule: tuple[float, ...] = SCHEDULE
    jitter: float = 0.2
    longest_retry_after: float = 3600.0
    connect_timeout: float = 3.0
    total_timeout: float = 15.0
    lease: float = 60.0
    direct_delay: float = 60.0
    handover: float = 300.0
    order_patience: float = 600.0
    lane_slots: int = 20
    lane_wait: float = 2.0
    slow_lane_wait: float = 30.0
    longest_lane_wait: float = 600.0
    give_up_after: float = 7 * _DAY
    disable_after: float = 5 * _DAY
    disable_after_failures: int = 100
    disable_min_span: float = 3600.0
    body_limit: int = 256 * 1024
    answer_limit: int = 8 * 1024
    retention_days: int = 30
    due_shards: int = 8

    @classmethod
    def from_env(cls, values: Mapping[str, str]) -> DeliverySettings:
        env = Env(values)
        default = cls()
        return cls(
            schedule=_schedule(env.names("DELIVERY_SCHEDULE")),
            jitter=env.number("DELIVERY_JITTER", default.jitter),
            connect_timeout=env.number("DELIVERY_CONNECT_SECONDS", default.connect_timeout),
            total_timeout=env.number("DELIVERY_TOTAL_SECONDS", default.total_timeout),
            lease=env.number("DELIVERY_LEASE_SECONDS", default.lease),
            handover=env.number("DELIVERY_HANDOVER_SECONDS", default.handover),
            order_patience=env.number("DELIVERY_ORDERING_TIMEOUT_SECONDS", default.order_patience),
            lane_slots=env.integer("DELIVERY_LANE_SLOTS", default.lane_slots),
            disable_after=env.number("DELIVERY_DISABLE_AFTER_SECONDS", default.disable_after),
            disable_after_failures=env.integer(
                "DELIVERY_DISABLE_AFTER_FAILURES", default.disable_after_failures
            ),
            disable_min_span=env.number("DELIVERY_DISABLE_MIN_SPAN_SECONDS", default.disable_min_span),
            body_limit=env.integer("DELIVERY_BODY_LIMIT_BYTES", default.body_limit),
            retention_days=env.integer("DELIVERY_RETENTION_DAYS", default.retention_days),
        )


def _schedule(words: tuple[str, ...]) -> tuple[float, ...]:
    try:
        delays = tuple(float(word) for word in words) or SCHEDULE
    except ValueError:
        raise ConfigurationError("environment variable DELIVERY_SCHEDULE is not a list of seconds") from None
    if any(delay < 0 for delay in delays):
        raise ConfigurationError("environment variable DELIVERY_SCHEDULE has a negative delay")
    return delays


def next_attempt(
    settings: DeliverySettings,
    *,
    tries: int,
    now: datetime,
    retry_after: float | None,
    die: Callable[[], float],
) -> datetime | None:
    """The time of the attempt after `tries` have failed, None where the schedule is used up.

    `die` gives numbers in [0, 1). A receiver's Retry-After can only put the attempt off, by at most
    `longest_retry_after` beyond now.
    """
    if tries >= len(settings.schedule):
        return None
    delay = settings.schedule[tries] * (1 + settings.jitter * (2 * die() - 1))
    asked = min(retry_after or 0.0, settings.longest_retry_after)
    return now + timedelta(seconds=max(delay, asked))
