"""Timestamps as Replicate writes them: UTC, `Z`, and a varying number of fractional digits.

Inside the simulator, an instant is an integer: nanoseconds since the Unix epoch.
"""

import time
from datetime import UTC, datetime

NANOSECONDS_PER_SECOND = 1_000_000_000
_FRACTIONAL_DIGITS = (3, 6, 8, 9)


def now_ns() -> int:
    """Return the current time."""
    return time.time_ns()


def to_seconds(duration_or_instant_ns: int) -> float:
    """Convert nanoseconds to seconds."""
    return duration_or_instant_ns / NANOSECONDS_PER_SECOND


def format_timestamp(instant_ns: int) -> str:
    """Return the ISO 8601 text of an instant.

    It has 3, 6, 8 or 9 fractional digits. The instant decides how many, so its text never changes.
    """
    whole, fraction = divmod(instant_ns, NANOSECONDS_PER_SECOND)
    digits = _FRACTIONAL_DIGITS[instant_ns // 1000 % len(_FRACTIONAL_DIGITS)]
    stamp = datetime.fromtimestamp(whole, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{stamp}.{fraction:09d}"[: len(stamp) + 1 + digits] + "Z"


def parse_timestamp(text: str) -> int:
    """Return the instant of an ISO 8601 text; without an offset it is UTC. Raises ValueError."""
    moment = datetime.fromisoformat(text.replace(" ", "+"))  # an unescaped + in a query arrives as a space
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    whole = int(moment.replace(microsecond=0).timestamp())
    return whole * NANOSECONDS_PER_SECOND + moment.microsecond * 1000
