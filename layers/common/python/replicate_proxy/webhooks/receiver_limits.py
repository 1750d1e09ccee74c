"""Limit the concurrent requests to one receiver, fewer the less it responds. No I/O.

A receiver that times out holds a worker for the whole timeout. Without a limit, one such receiver would
occupy all workers and delay the deliveries to all others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicate_proxy.errors import ProxyError

if TYPE_CHECKING:
    from datetime import datetime

    from replicate_proxy.webhooks.settings import DeliverySettings


class ConcurrencyLimitError(ProxyError):
    """All slots of the receiver are taken. `consecutive_unanswered` is as in ReceiverHealth."""

    def __init__(self, consecutive_unanswered: int) -> None:
        super().__init__("the receiver has its maximum of requests in flight")
        self.consecutive_unanswered = consecutive_unanswered


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiverHealth:
    """Requests in flight to a receiver, and how the latest ones went.

    `consecutive_unanswered` counts the latest requests without any HTTP response (timeout, refused
    connection), `consecutive_failures` those without a 2xx. `failing_since` is the first of these,
    or the first one after a time without requests that was too long for one outage.
    """

    in_flight: int = 0
    consecutive_unanswered: int = 0
    consecutive_failures: int = 0
    failing_since: datetime | None = None
    last_success_at: datetime | None = None


def calculate_allowed_concurrency(consecutive_unanswered: int, max_concurrency: int) -> int:
    """Return the number of slots: a quarter for each unanswered request, down to a single probe."""
    return max(1, max_concurrency >> (2 * min(consecutive_unanswered, 8)))


def calculate_slot_delay_seconds(consecutive_unanswered: int, settings: DeliverySettings) -> float:
    """Return how long to wait for a slot; backs off exponentially with consecutive unanswered requests.

    The wait does not count as an attempt.
    """
    if consecutive_unanswered == 0:
        return settings.busy_delay_seconds
    doublings = min(consecutive_unanswered - 1, 16)
    return min(settings.unresponsive_delay_seconds * 2.0**doublings, settings.max_unresponsive_delay_seconds)
