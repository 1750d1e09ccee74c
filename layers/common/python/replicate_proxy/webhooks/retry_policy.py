"""The retry policy of webhook delivery: the time of the next attempt. No I/O."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from replicate_proxy.clock import parse_timestamp
from replicate_proxy.webhooks.model import DeliveryStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicate_proxy.pauses.pause import Pause
    from replicate_proxy.webhooks.model import Delivery
    from replicate_proxy.webhooks.settings import DeliverySettings


def restart_schedule(delivery: Delivery, now: datetime, settings: DeliverySettings) -> Delivery:
    """Return the delivery as pending and due now, with a new schedule.

    The sweep enqueues it if the message that the caller sends is lost.
    """
    return replace(
        delivery,
        status=DeliveryStatus.PENDING,
        schedule_attempts=0,
        last_result=None,
        failure_reason=None,
        finished_at=None,
        lease_until=None,
        schedule_started_at=now,
        paused_since=None,
        paused_seconds=0,
        next_attempt_at=now,
        due_at=now + timedelta(seconds=settings.requeue_after_seconds),
    )


def calculate_pause_delay(pause: Pause, now: datetime, settings: DeliverySettings) -> timedelta:
    """Return when to look again whether deliveries may go on: the longer they are paused, the later."""
    shortest, longest = settings.paused_delay_seconds
    paused_seconds = (now - parse_timestamp(pause.since)).total_seconds()
    return timedelta(seconds=min(max(paused_seconds, shortest), longest))


def calculate_next_attempt_at(
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
