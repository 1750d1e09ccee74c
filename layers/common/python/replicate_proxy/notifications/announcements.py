"""Telling consumers inside AWS: the bus, and an SNS topic where there is one."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from replicate_proxy.contracts.events import Event
    from replicate_proxy.notifications.ports import Topic
    from replicate_proxy.ports import EventBus

__all__ = ["Announcements"]


class Announcements:
    """Publishes JobStatusChanged events; on the topic, `tenant` and `status` are attributes to filter by."""

    def __init__(self, bus: EventBus, topic: Topic | None = None) -> None:
        self._bus = bus
        self._topic = topic

    def publish(self, events: Sequence[Event]) -> None:
        """Raises RetryableError where any was not taken."""
        if events:
            self._bus.publish(events)
        if self._topic is None:
            return
        for event in events:
            attributes = {name: str(event.data[name]) for name in ("tenant", "status")}
            self._topic.publish(event.detail(), attributes=attributes)
