"""Virtual time as the code under test reads it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from replicate_proxy.clock import format_timestamp

if TYPE_CHECKING:
    from tools.simulation.scheduler import Scheduler


class VirtualClock:
    """The Clock port on the scheduler's time."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler

    def now(self) -> datetime:
        return datetime.fromtimestamp(self._scheduler.now, UTC)


def format_epoch(seconds: float) -> str:
    """Return the time as Replicate writes it."""
    return format_timestamp(datetime.fromtimestamp(seconds, UTC))
