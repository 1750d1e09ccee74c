"""The clock of the functions, which tests on the local stack can set ahead."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from replicate_proxy.clock import SystemClock

if TYPE_CHECKING:
    from replicate_proxy.config import LocalSettings
    from replicate_proxy.ports import Clock


class OffsetClock:
    """The system clock plus the seconds in a file, which is read each time: all functions move at once."""

    def __init__(self, offset_file: Path, clock: Clock | None = None) -> None:
        self._offset_file = offset_file
        self._clock = clock or SystemClock()

    def now(self) -> datetime:
        return self._clock.now() + timedelta(seconds=self._read_offset_seconds())

    def _read_offset_seconds(self) -> float:
        try:
            return float(self._offset_file.read_text("utf-8").strip() or 0)
        except FileNotFoundError:
            return 0.0


def build_clock(settings: LocalSettings) -> Clock:
    """Return the system clock; on the local stack, one whose offset tests can set."""
    offset_file = settings.clock_offset_file
    return OffsetClock(Path(offset_file)) if offset_file else SystemClock()
