"""When the next attempt goes out. Pure but for the die it is given."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicate_proxy.notifications.settings import DeliverySettings

__all__ = ["next_attempt", "retry_after_seconds"]


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


def retry_after_seconds(header: str | None, now: datetime) -> float | None:
    """The seconds a Retry-After header asks for: a number or an HTTP date (RFC 9110, section 10.2.3)."""
    text = (header or "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())
