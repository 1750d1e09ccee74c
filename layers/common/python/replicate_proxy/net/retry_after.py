"""The Retry-After header (RFC 9110, section 10.2.3)."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_MAX_SECONDS = 999_999_999.0


def parse_retry_after(header: str | None, now: datetime) -> float | None:
    """Return the seconds that the header asks to wait, None if it is missing or invalid.

    The header holds whole seconds or an HTTP date; a date in the past is 0 seconds.
    """
    text = (header or "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text), _MAX_SECONDS)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())
