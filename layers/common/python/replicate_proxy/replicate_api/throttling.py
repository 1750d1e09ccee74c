"""When to come back after a 429, and at what rate. Pure.

Source: Replicate's rate-limit page and recorded replies: `retry_after` in the body, "Your rate limit resets
in ~5s." in the detail, "reduced to 6 requests per minute" while credit is low; a Retry-After header is
allowed for (RFC 9110).
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["DEFAULT_RETRY_AFTER", "MAX_RETRY_AFTER", "limit_per_minute", "retry_after"]

DEFAULT_RETRY_AFTER = 5.0
MAX_RETRY_AFTER = 900.0
"""Seconds; the longest a queue message can be delayed."""

_RESETS = re.compile(r"resets? in ~?\s*(\d{1,6}(?:\.\d{1,6})?)\s*s", re.IGNORECASE)
_REDUCED = re.compile(r"reduced to (\d{1,6}) requests? per minute", re.IGNORECASE)


def retry_after(body: Mapping[str, Any], header: str | None, *, now: datetime) -> float | None:
    """Seconds to wait: the longest of body, header and text, at most MAX_RETRY_AFTER; None where nothing
    says.
    """
    stated = [_number(body.get("retry_after")), _header(header, now), _from_text(body.get("detail"))]
    known = [seconds for seconds in stated if seconds is not None]
    return min(max(known), MAX_RETRY_AFTER) if known else None


def limit_per_minute(body: Mapping[str, Any]) -> int | None:
    """Creates a minute that Replicate allows for now, where it says so."""
    found = _REDUCED.search(str(body.get("detail", "")))
    limit = int(found.group(1)) if found else 0
    return limit or None


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        seconds = float(value)
    except (ValueError, OverflowError):
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def _header(value: str | None, now: datetime) -> float | None:
    if value is None:
        return None
    seconds = _number(value)
    if seconds is not None:
        return seconds
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, TypeError):
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())


def _from_text(detail: object) -> float | None:
    found = _RESETS.search(detail) if isinstance(detail, str) else None
    return float(found.group(1)) if found else None
