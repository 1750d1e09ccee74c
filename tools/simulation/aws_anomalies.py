"""What AWS may do beyond faults: lagging indexes, stale reads, duplicates, delays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tools.simulation.faults import FaultPlan
    from tools.simulation.scheduler import Scheduler

# Indexes that only operators read: their lag is the same for all entries.
_UNREAD_INDEXES = frozenset({"by_time", "by_outcome"})


class AwsAnomalies:
    """What AWS may do beyond faults: lagging indexes, stale reads, duplicates, delays."""

    def __init__(self, scheduler: Scheduler, plan: FaultPlan) -> None:
        self._scheduler = scheduler
        self._plan = plan

    def index_lag(self, table: str, index: str) -> float:
        if index in _UNREAD_INDEXES:
            return self._plan.propagation_seconds
        choice = self._choose(self._plan.mix.indexes, "index")
        if choice == "late":
            return self._draw(1.0, 5.0)
        return self._draw(5.0, 90.0) if choice == "very_late" else self._plan.propagation_seconds

    def stale_read(self, table: str) -> bool:
        return bool(self._choose(self._plan.mix.indexes, "read"))

    def unprocessed_keys(self, table: str, count: int) -> int:
        return count // 2 if self._choose(self._plan.mix.indexes, "batch read") else 0

    def has_empty_page(self, table: str) -> bool:
        """Return whether reading a stream gives an empty page before the records."""
        return bool(self._choose(self._plan.mix.streams, "stream"))

    def queue_delivery(self, queue: str) -> int:
        return 2 if self._choose(self._plan.mix.messages, "queue") == "twice" else 1

    def bus_delivery(self, queue: str) -> int:
        return 2 if self._choose(self._plan.mix.messages, "bus") == "twice" else 1

    def bus_delay(self, queue: str) -> float:
        choice = self._choose(self._plan.mix.messages, "bus")
        if choice == "late":
            return self._draw(1.0, 30.0)
        return self._draw(30.0, 900.0) if choice == "very_late" else self._plan.propagation_seconds

    def invocation_delays(self) -> Sequence[float]:
        """Return after how many seconds an asynchronous invocation reaches its function each time.

        One that waits for longer than the MaximumEventAgeInSeconds of template.yaml is discarded.
        """
        choice = self._choose(self._plan.mix.invocations, "invocation")
        soon = self._plan.propagation_seconds
        if choice == "lost":
            return ()
        if choice == "twice":
            return soon, self._plan.draw_repetition_delay(self._scheduler.actor)
        return (self._draw(1.0, 60.0) if choice == "late" else soon,)

    def _choose(self, rates: Any, kind: str) -> str:
        actor = self._scheduler.current
        return "" if actor is None else self._plan.choose(actor, rates, kind=kind)

    def _draw(self, low: float, high: float) -> float:
        actor = self._scheduler.actor
        return actor.random.uniform(low, high)
