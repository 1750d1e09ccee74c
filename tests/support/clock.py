"""The clock of the tests, and the moment at which it starts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

NOW = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)


class FakeClock:
    """A clock that stands still until a test advances it; `sleep` advances it, too."""

    def __init__(self, now: datetime = NOW) -> None:
        self._now = now

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._now.timestamp()

    def advance(self, seconds: float = 0, *, minutes: float = 0, hours: float = 0) -> None:
        self._now += timedelta(seconds=seconds, minutes=minutes, hours=hours)

    def set(self, now: datetime) -> None:
        self._now = now

    def sleep(self, seconds: float) -> None:
        self.advance(seconds)
