"""How long a job is kept: `7d` or `12h`, as requests and tenants' settings say it. No I/O."""

from __future__ import annotations

import re

_PATTERN = re.compile(r"(\d{1,6})([dh])", re.ASCII)
_UNITS = {"d": 86_400, "h": 3600}


def parse_retention(text: str, max_days: int) -> int:
    """Return the seconds, at most the retention of the stack. Raises ValueError with what is wrong."""
    match = _PATTERN.fullmatch(text.strip())
    seconds = int(match.group(1)) * _UNITS[match.group(2)] if match else 0
    if not seconds:
        raise ValueError("must be a duration such as 7d or 12h")
    if seconds > max_days * _UNITS["d"]:
        raise ValueError(f"must be at most {max_days}d, the retention of this stack")
    return seconds


def format_retention(seconds: int | None) -> str | None:
    """Return the text of whole hours or days."""
    if seconds is None:
        return None
    unit = "h" if seconds % _UNITS["d"] else "d"
    return f"{seconds // _UNITS[unit]}{unit}"
