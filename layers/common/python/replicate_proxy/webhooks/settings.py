"""The settings of webhook delivery, the retry schedule among them. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from replicate_proxy.errors import ConfigurationError
from replicate_proxy.settings import (
    DELIVERY_LEASE_SECONDS,
    DELIVERY_REQUEUE_AFTER_SECONDS,
    DELIVERY_SCHEDULE,
    DELIVERY_TOTAL_TIMEOUT_SECONDS,
)

if TYPE_CHECKING:
    from replicate_proxy.config import Environment


DEFAULT_SCHEDULE_SECONDS = DELIVERY_SCHEDULE.default
_DAY_SECONDS = 86400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliverySettings:
    """Settings of webhook delivery.

    schedule_seconds: delay before each attempt; their number is the maximum number of attempts.
    jitter: share by which each delay varies; 0.2 means ±20 %.
    max_retry_after_seconds: longest delay that a receiver's Retry-After can cause.
    max_queue_delay_seconds: a shorter delay goes through the queue, a longer one is left to the sweep.
    requeue_after_seconds: when the sweep enqueues a delivery again whose message may be lost.
    paused_delay_seconds: the shortest and the longest delay after which a paused delivery is looked at again;
        it is as long as the pause so far.
    ordering_timeout_seconds: how long an event waits for an earlier one of its job that the receiver rejects.
    max_concurrency: requests in flight to one receiver.
    busy_delay_seconds: delay when a healthy receiver has no free slot.
    unresponsive_delay_seconds: delay when the receiver did not respond; doubles with each unanswered request
        up to `max_unresponsive_delay_seconds`.
    max_age_seconds: a delivery older than this fails as expired.
    disable_after_seconds: an endpoint that has failed for this long is disabled; this time begins again if
        there was no request for `max_failure_gap_seconds`.
    disable_after_failures: so many consecutive failures disable an endpoint, but only if they span
        `disable_min_span_seconds`: the restart of a busy receiver causes as many within minutes.
    """

    schedule_seconds: tuple[float, ...] = DEFAULT_SCHEDULE_SECONDS
    jitter: float = 0.2
    max_retry_after_seconds: float = 3600.0
    connect_timeout_seconds: float = 3.0
    total_timeout_seconds: float = 15.0
    lease_seconds: float = 60.0
    max_queue_delay_seconds: float = 60.0
    requeue_after_seconds: float = 300.0
    paused_delay_seconds: tuple[float, float] = (30.0, 300.0)
    ordering_timeout_seconds: float = 600.0
    max_concurrency: int = 20
    busy_delay_seconds: float = 2.0
    unresponsive_delay_seconds: float = 30.0
    max_unresponsive_delay_seconds: float = 600.0
    max_age_seconds: float = 7 * _DAY_SECONDS
    disable_after_seconds: float = 5 * _DAY_SECONDS
    disable_after_failures: int = 100
    disable_min_span_seconds: float = 3600.0
    max_body_bytes: int = 256 * 1024
    max_response_bytes: int = 8 * 1024
    retention_days: int = 30
    due_shards: int = 8

    @classmethod
    def from_env(cls, env: Environment) -> DeliverySettings:
        """Return the settings of the environment. Raises ConfigurationError if a delay is negative."""
        schedule = env[DELIVERY_SCHEDULE]
        if any(delay < 0 for delay in schedule):
            raise ConfigurationError(f"environment variable {DELIVERY_SCHEDULE.name} has a negative delay")
        return cls(
            schedule_seconds=schedule,
            total_timeout_seconds=env[DELIVERY_TOTAL_TIMEOUT_SECONDS],
            lease_seconds=env[DELIVERY_LEASE_SECONDS],
            requeue_after_seconds=env[DELIVERY_REQUEUE_AFTER_SECONDS],
        )

    @property
    def max_failure_gap_seconds(self) -> float:
        """Return the longest time between two failures of one outage: more than two attempts are apart."""
        return max(2 * _DAY_SECONDS, 2 * max(self.schedule_seconds, default=0.0))

    def calculate_expiry(self, now: datetime) -> int:
        """Return when DynamoDB may delete a record created now, in seconds since 1970."""
        return int((now + timedelta(days=self.retention_days)).timestamp())
