"""The order of a job's events at one target. Pure.

A later event waits while an earlier one to the same target is pending. It passes an earlier one only where
the receiver is up and keeps refusing that one, and after `order_patience`; if it then succeeds, the earlier
ones are closed as superseded, since its body says everything theirs did. An earlier one that finds nobody
there holds the line until its own schedule is used up, so every wait ends.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from replicate_proxy.notifications.model import Delivery, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from replicate_proxy.notifications.settings import DeliverySettings

__all__ = ["blocking"]


def blocking(
    delivery: Delivery, earlier: Sequence[Delivery], *, now: datetime, settings: DeliverySettings
) -> list[Delivery]:
    """The earlier deliveries, among those still pending, that this one has to wait for."""
    has_waited = now >= delivery.queued_at + timedelta(seconds=settings.order_patience)
    return [other for other in earlier if not (has_waited and _is_refused(other, now))]


def _is_refused(other: Delivery, now: datetime) -> bool:
    return other.verdict is Verdict.REFUSED and not other.is_leased(now)
