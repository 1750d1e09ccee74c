"""The clock of the functions: the machine's, which tests on the local stack can move."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from replicate_proxy.clock import SystemClock
from replicate_proxy.config import read_local_settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from replicate_proxy.ports import Clock


class OffsetClock:
    """The machine's time plus the seconds in a file, read each time: all functions move at once."""

    def __init__(self, offset_file: Path, clock: Clock | None = None) -> None:
        self._offset_file = offset_file
        self._clock = clock or SystemClock()

    def now(self) -> datetime:
        return self._clock.now() + timedelta(seconds=self._offset())

    def _offset(self) -> float:
        try:
            return float(self._offset_file.read_text("utf-8").strip() or 0)
        except FileNotFoundError:
            return 0.0


def build_clock(values: Mapping[str, str]) -> Clock:
    """By the local setting `clock_offset_file`, which nothing but the local stack can have."""
    offset_file = read_local_settings(values).get("clock_offset_file")
    return OffsetClock(Path(offset_file)) if offset_file else SystemClock()
