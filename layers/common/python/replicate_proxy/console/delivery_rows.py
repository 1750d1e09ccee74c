"""Rows of lists of deliveries: what they wait for, which the time of their next attempt does not say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from replicate_proxy.api.webhooks.views import build_delivery_view

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from replicate_proxy.webhooks.model import Delivery


def build_delivery_rows(deliveries: Sequence[Delivery], now: datetime) -> list[dict[str, Any]]:
    """Return the views of the deliveries, with what those wait for whose time has come."""
    return [
        {**build_delivery_view(delivery), "waits": _describe_wait(delivery, deliveries, now)}
        for delivery in deliveries
    ]


def _describe_wait(delivery: Delivery, listed: Iterable[Delivery], now: datetime) -> str:
    """Return what a pending delivery waits for, nothing before the time of its next attempt."""
    if not delivery.is_pending:
        return ""
    if delivery.is_leased(now):
        return "in progress"
    if delivery.next_attempt_at > now:
        return ""
    if delivery.paused_since is not None:
        return "after the pause"
    earlier = [other for other in listed if _may_block(other, delivery)]
    if not earlier:
        return "due now"
    last = max(earlier, key=lambda other: other.sequence)
    return f"after {last.kind.value} {last.sequence}"


def _may_block(other: Delivery, delivery: Delivery) -> bool:
    """Return whether the delivery waits for the other one: an earlier one in the same order."""
    is_same_line = (other.job_id, other.target) == (delivery.job_id, delivery.target)
    return is_same_line and other.is_pending and other.sequence < delivery.sequence
