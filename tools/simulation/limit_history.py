"""The numbers that a limit has had, and which of them may still apply."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tools.simulation.scheduler import Scheduler


@dataclass(slots=True)
class LimitHistory:
    """A limit, which is infinite at first. What was begun `settled_seconds` after a change goes by it."""

    scheduler: Scheduler
    settled_seconds: float
    # Each with the time at which another one was confirmed.
    _numbers: list[tuple[float, float]] = field(default_factory=lambda: [(math.inf, math.inf)])

    @property
    def current(self) -> float:
        """The number that was set last."""
        return self._numbers[-1][0]

    def expect(self, number: float | None) -> None:
        """Learn the number that is about to be set, None for no limit."""
        self._numbers.append((math.inf if number is None else number, math.inf))

    def confirm(self) -> None:
        """Learn that the number is set."""
        now = self.scheduler.now
        earlier = [(number, min(until, now)) for number, until in self._numbers[:-1]]
        self._numbers = [*earlier, self._numbers[-1]]

    def find_greatest(self, since: float | None = None) -> float:
        """Return the greatest number that may apply to what was begun at that time, or is begun now."""
        settled = (self.scheduler.now if since is None else since) - self.settled_seconds
        return max(number for number, until in self._numbers if until >= settled)
