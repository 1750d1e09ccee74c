"""The request headers that steer a create (OpenAPI document, Prefer and Cancel-After)."""

import re

from tools.simulator.problems import InvalidField, invalid_input

_PREFER = re.compile(r"wait(?:=([1-9]|[1-5][0-9]|60))?")
_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s?)?")
_LONGEST_WAIT = 60
_SHORTEST_LIFE = 5


def preferred_wait(value: str | None) -> int | None:
    """Seconds of `Prefer: wait[=n]`; None if absent or not understood (RFC 7240: then ignored)."""
    for preference in (value or "").split(","):
        if match := _PREFER.fullmatch(preference.strip()):
            return int(match[1] or _LONGEST_WAIT)
    return None


def cancel_after(value: str | None) -> int | None:
    """Seconds of `Cancel-After` (`30`, `30s`, `5m`, `1h30m45s`); a 422 problem if malformed or under 5 s."""
    if value is None:
        return None
    match = _DURATION.fullmatch(value.strip())
    if match is None or not any(match.groups()):
        raise invalid_input(_bad("must be a duration like 30s or 1h5m"))
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    total = hours * 3600 + minutes * 60 + seconds
    if total < _SHORTEST_LIFE:
        raise invalid_input(_bad("must be at least 5 seconds"))
    return total


def _bad(reason: str) -> InvalidField:
    return InvalidField("format", "Cancel-After", f"Cancel-After {reason}")
