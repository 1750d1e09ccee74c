"""The Retry-After header (RFC 9110, section 10.2.3)."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_MAX_SECONDS = 999_999_999.0
_SECONDS = re.compile(r"[0-9]+(?:\.[0-9]*)?")


def parse_retry_after(header: str | None, now: datetime) -> float | None:
    """Return the seconds that the header asks to wait, None if it is missing or invalid.

    The header holds seconds or an HTTP date; a date in the past is 0 seconds. Fractions of a second are
    accepted, which the RFC does not have.
    """
    text = (header or "").strip()
    if _SECONDS.fullmatch(text):
        return min(float(text), _MAX_SECONDS)
    try:
        moment = parsedate_to_datetime(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return min(max(0.0, (moment - now).total_seconds()), _MAX_SECONDS)
    except (ValueError, TypeError, OverflowError):
        return None
