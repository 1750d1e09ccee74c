"""Time: one clock, one text form. All times are UTC; text is ISO-8601 with milliseconds and Z."""

from __future__ import annotations

from datetime import UTC, datetime


class SystemClock:
    """The wall clock of the machine."""

    def now(self) -> datetime:
        return datetime.now(UTC)


def iso(moment: datetime) -> str:
    """`2026-01-31T09:30:00.125Z`: fixed width, so that text order is time order."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse(text: str) -> datetime:
    """Any ISO-8601 time with an offset; Replicate sends 3 to 9 fractional digits, of which microseconds are
    kept.

    Raises ValueError where the text is not a time or has no offset.
    """
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("the time has no offset from UTC")
    return moment.astimezone(UTC)
