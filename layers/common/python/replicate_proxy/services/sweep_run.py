"""One run of the sweep: deliveries, lines of concurrency limits, deletions and jobs share its time."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from replicate_proxy.observability import logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicate_proxy.concurrency.repair import SlotRepair
    from replicate_proxy.deletion.sweep import DeletionSweep
    from replicate_proxy.ports import Clock
    from replicate_proxy.services.sweep import Sweeper
    from replicate_proxy.webhooks.delivery_sweep import DeliverySweep

# How much of a sweep the deliveries, and the lines of concurrency limits, may take.
_MAX_DELIVERIES_TIME = timedelta(seconds=12)
_MAX_SLOTS_TIME = timedelta(seconds=8)
# How much of it deletions have before the checks of jobs, which may take all of the rest.
_MAX_FIRST_DELETIONS_TIME = timedelta(seconds=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepRun:
    """Runs the parts of a sweep in their order. Each runs even if an earlier one fails."""

    build_deliveries: Callable[[], DeliverySweep]
    build_slots: Callable[[], SlotRepair]
    build_jobs: Callable[[], Sweeper]
    build_deletions: Callable[[], DeletionSweep]
    clock: Clock

    def run(self, now: datetime, deadline: datetime) -> dict[str, Any]:
        """Run until `deadline` at the latest, and return what was done. Raises the last error of a part."""
        counts: dict[str, Any] = {}
        deletions = _Deletions(self.build_deletions, self.clock)
        with ExitStack() as parts:  # The last one runs first.
            parts.callback(lambda: deletions.run(deadline))
            parts.callback(lambda: counts.update(self.build_jobs().sweep_jobs(deadline).describe()))
            parts.callback(lambda: deletions.run(self._limit(_MAX_FIRST_DELETIONS_TIME, deadline)))
            parts.callback(
                lambda: counts.update(resumed=self.build_slots().run(self._limit(_MAX_SLOTS_TIME, deadline)))
            )
            until = self._limit(_MAX_DELIVERIES_TIME, deadline)
            counts["deliveries"] = self.build_deliveries().enqueue_due(now, until)
        counts["deletions"] = dict(deletions.outcomes)
        logger.info("sweep finished", **counts)
        return counts

    def _limit(self, share: timedelta, deadline: datetime) -> datetime:
        return min(deadline, self.clock.now() + share)


@dataclass(slots=True)
class _Deletions:
    """The deletions of a sweep, in two rounds: the second one is left out if the first one has done all."""

    build: Callable[[], DeletionSweep]
    clock: Clock
    outcomes: Counter[str] = field(default_factory=Counter)
    are_done: bool = False

    def run(self, deadline: datetime) -> None:
        if not self.are_done:
            self.outcomes.update(self.build().delete_jobs(deadline))
            self.are_done = self.clock.now() < deadline
