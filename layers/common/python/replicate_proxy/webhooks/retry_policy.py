"""Settings of delivery, and the time of the next attempt. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from replicate_proxy.config import Env
from replicate_proxy.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


# Standard Webhooks specification, "Retry schedule": ten attempts in 75 hours.
DEFAULT_SCHEDULE_SECONDS = (0.0, 5.0, 300.0, 1800.0, 7200.0, 18000.0, 36000.0, 50400.0, 72000.0, 86400.0)
_DAY_SECONDS = 86400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliverySettings:
    """Settings of webhook delivery; `from_env` names the environment variables.

    schedule_seconds: delay before each attempt; their number is the maximum number of attempts.
    jitter: share by which each delay varies; 0.2 means ±20 %.
    max_retry_after_seconds: longest delay that a receiver's Retry-After can cause.
    max_queue_delay_seconds: a shorter delay goes through the queue, a longer one is left to the sweep.
    requeue_after_seconds: time after which the sweep enqueues a delivery again whose message was lost.
    ordering_timeout_seconds: how long an event waits for an earlier one of its job that the receiver rejects.
    max_concurrency: requests in flight to one receiver.
    busy_delay_seconds: delay when a healthy receiver has no free slot.
    unresponsive_delay_seconds: first delay when the receiver sends no responses; doubles with each missing
        response up to `max_unresponsive_delay_seconds`.
    max_age_seconds: a delivery older than this fails as expired.
    disable_after_seconds: an endpoint is disabled after failing for this long,
    disable_after_failures: or after this many consecutive failures, provided that they span
    disable_min_span_seconds: so that the restart of a busy receiver does not disable it.
    """

    schedule_seconds: tuple[float, ...] = DEFAULT_SCHEDULE_SECONDS
    jitter: float = 0.2
    max_retry_after_seconds: float = 3600.0
    connect_timeout_seconds: float = 3.0
    total_timeout_seconds: float = 15.0
    lease_seconds: float = 60.0
    max_queue_delay_seconds: float = 60.0
    requeue_after_seconds: float = 300.0
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
    def from_env(cls, values: Mapping[str, str]) -> DeliverySettings:
        env = Env(values)
        default = cls()
        return cls(
            schedule_seconds=_parse_schedule(env.names("DELIVERY_SCHEDULE")),
            jitter=env.number("DELIVERY_JITTER", default.jitter),
            connect_timeout_seconds=env.number(
                "DELIVERY_CONNECT_TIMEOUT_SECONDS", default.connect_timeout_seconds
            ),
            total_timeout_seconds=env.number("DELIVERY_TOTAL_TIMEOUT_SECONDS", default.total_timeout_seconds),
            lease_seconds=env.number("DELIVERY_LEASE_SECONDS", default.lease_seconds),
            requeue_after_seconds=env.number("DELIVERY_REQUEUE_AFTER_SECONDS", default.requeue_after_seconds),
            ordering_timeout_seconds=env.number(
                "DELIVERY_ORDERING_TIMEOUT_SECONDS", default.ordering_timeout_seconds
            ),
            max_concurrency=env.integer("DELIVERY_MAX_CONCURRENCY", default.max_concurrency),
            disable_after_seconds=env.number("DELIVERY_DISABLE_AFTER_SECONDS", default.disable_after_seconds),
            disable_after_failures=env.integer(
                "DELIVERY_DISABLE_AFTER_FAILURES", default.disable_after_failures
            ),
            disable_min_span_seconds=env.number(
                "DELIVERY_DISABLE_MIN_SPAN_SECONDS", default.disable_min_span_seconds
            ),
            max_body_bytes=env.integer("DELIVERY_MAX_BODY_BYTES", default.max_body_bytes),
            retention_days=env.integer("DELIVERY_RETENTION_DAYS", default.retention_days),
        )


def next_attempt_at(
    settings: DeliverySettings,
    *,
    failed_attempts: int,
    now: datetime,
    retry_after_seconds: float | None,
    random_fraction: Callable[[], float],
) -> datetime | None:
    """Return the time of the attempt after `failed_attempts`, or None if the schedule is used up.

    `random_fraction` returns numbers in [0, 1). A Retry-After can only delay the attempt, never advance it.
    """
    if failed_attempts >= len(settings.schedule_seconds):
        return None
    jitter_factor = 1 + settings.jitter * (2 * random_fraction() - 1)
    scheduled_delay = settings.schedule_seconds[failed_attempts] * jitter_factor
    requested_delay = min(retry_after_seconds or 0.0, settings.max_retry_after_seconds)
    return now + timedelta(seconds=max(scheduled_delay, requested_delay))


def _parse_schedule(delays: tuple[str, ...]) -> tuple[float, ...]:
    try:
        schedule = tuple(float(delay) for delay in delays) or DEFAULT_SCHEDULE_SECONDS
    except ValueError:
        raise ConfigurationError("environment variable DELIVERY_SCHEDULE is not a list of seconds") from None
    if any(delay < 0 for delay in schedule):
        raise ConfigurationError("environment variable DELIVERY_SCHEDULE has a negative delay")
    return schedule
