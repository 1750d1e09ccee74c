"""The system clock, and timestamps as text.

All times are in UTC. As text they are ISO 8601 with milliseconds and `Z`: `2026-01-31T09:30:00.125Z`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache

# A record has many timestamps, most of which are the same each time that it is read and saved.
_CACHED_TIMESTAMPS = 4096


class SystemClock:
    """The clock of the machine."""

    def now(self) -> datetime:
        return datetime.now(UTC)


def format_timestamp(moment: datetime) -> str:
    """Return the time as text of fixed width, so that sorting the texts sorts the times."""
    return _format_utc(moment if moment.tzinfo is UTC else moment.astimezone(UTC))


@lru_cache(_CACHED_TIMESTAMPS)
def _format_utc(moment: datetime) -> str:
    # Formatting the offset would take most of the time.
    return moment.replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def truncate_to_milliseconds(moment: datetime) -> datetime:
    """Return the time as it is read again from its text."""
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


@lru_cache(_CACHED_TIMESTAMPS)
def parse_timestamp(text: str) -> datetime:
    """Parse an ISO 8601 time that has a UTC offset.

    Replicate sends 3 to 9 fractional digits; digits after the microseconds are ignored. Raises ValueError
    if the text is not a time, has no offset, or is not in the years 1 to 9999 in UTC.
    """
    return convert_to_utc(datetime.fromisoformat(text))


def convert_to_utc(moment: datetime) -> datetime:
    """Return the same moment in UTC. Raises ValueError if it has no offset, or no year from 1 to 9999."""
    if moment.tzinfo is UTC:
        return moment
    if moment.tzinfo is None:
        raise ValueError("the time has no UTC offset")
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ValueError("the time is not in the years 1 to 9999") from None


def format_optional_timestamp(moment: datetime | None) -> str | None:
    return format_timestamp(moment) if moment else None


def parse_optional_timestamp(text: str | None) -> datetime | None:
    return parse_timestamp(text) if text else None
