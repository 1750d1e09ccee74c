"""Wall-clock instants as Replicate writes them: UTC, `Z`, and a number of fractional digits that varies."""

import time
from datetime import UTC, datetime

NANOSECONDS = 1_000_000_000
_DIGITS = (3, 6, 8, 9)


def now_ns() -> int:
    """Nanoseconds since the Unix epoch."""
    return time.time_ns()


def seconds(instant_ns: int) -> float:
    """The instant as Unix seconds."""
    return instant_ns / NANOSECONDS


def iso(instant_ns: int) -> str:
    """ISO-8601 text; 3, 6, 8 or 9 fractional digits, chosen by the instant itself, so for good."""
    whole, fraction = divmod(instant_ns, NANOSECONDS)
    digits = _DIGITS[instant_ns // 1000 % len(_DIGITS)]
    stamp = datetime.fromtimestamp(whole, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{stamp}.{fraction:09d}"[: len(stamp) + 1 + digits] + "Z"


def parse_iso(text: str) -> int:
    """Nanoseconds since the epoch of an ISO-8601 time (naive means UTC); ValueError if it is none."""
    moment = datetime.fromisoformat(text.replace(" ", "+"))
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    whole = int(moment.replace(microsecond=0).timestamp())
    return whole * NANOSECONDS + moment.microsecond * 1000
