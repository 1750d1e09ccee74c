"""IDs of jobs, batches, events and files: they sort by time and look like Replicate's prediction IDs.

An ID is a ULID in lower case (github.com/ulid/spec): 48 bits of milliseconds and 80 random bits, as 26
characters in Crockford's base 32. Replicate's prediction IDs have 26 characters of [0-9a-z] as well.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime


_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
# Of all that has the form of an ID; those of Replicate's predictions use them all.
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_PATTERN = re.compile(r"[0-9a-z]{26}")
_RANDOM_BITS = 80
_TIME_CHARACTERS = 10
_NUMBER_BITS = 20
_MAX_MILLISECONDS = (1 << 48) - 1


def generate_id(now: datetime) -> str:
    """Return a new ID for something created at `now`."""
    return _encode(_count_milliseconds(now) << _RANDOM_BITS | secrets.randbits(_RANDOM_BITS))


def derive_id(parent_id: str, number: int) -> str:
    """Return the ID of something that another created: the same for the same number, and sorted by it.

    It has the time of the other ID. The number takes 20 of the random bits, and a hash the rest.
    """
    if not 0 <= number < 1 << _NUMBER_BITS:
        raise ValueError(f"number out of range: {number}")
    digest = hashlib.sha256(f"{parent_id}\n{number}".encode()).digest()
    rest = int.from_bytes(digest) >> (8 * len(digest) - (_RANDOM_BITS - _NUMBER_BITS))
    encoded = _encode(number << (_RANDOM_BITS - _NUMBER_BITS) | rest)
    return parent_id[:_TIME_CHARACTERS] + encoded[_TIME_CHARACTERS:]


def min_id_at(moment: datetime) -> str:
    """Return the smallest ID of that moment, which turns a time filter into a range of keys."""
    return _encode(_count_milliseconds(moment) << _RANDOM_BITS)


def find_bounds(*ids: str) -> tuple[str, str]:
    """Return bounds of the IDs that have the time of one of these, or one in between.

    The first bound is the lowest such ID, the second is above all of them.
    """
    times = sorted(each[:_TIME_CHARACTERS] for each in ids)
    return times[0].ljust(_RANDOM_BITS // 5 + _TIME_CHARACTERS, _ALPHABET[0]), f"{times[-1]}~"


def find_neighbor(of_id: str, distance: int) -> str:
    """Return the text of the form of an ID that is so far above another one, or below it, as texts sort."""
    base = len(_DIGITS)
    value = max(0, min(int(of_id, base) + distance, base ** len(of_id) - 1))
    digits = []
    for _ in of_id:
        value, digit = divmod(value, base)
        digits.append(_DIGITS[digit])
    return "".join(reversed(digits))


def is_id(text: str) -> bool:
    """Return whether the text has the form of an ID."""
    return _PATTERN.fullmatch(text) is not None


def hash_idempotency_key(key: str | None) -> str | None:
    """Return what records have of a caller's idempotency key, which may be anything."""
    return hashlib.sha256(key.encode()).hexdigest() if key is not None else None


def _count_milliseconds(moment: datetime) -> int:
    return max(0, min(int(moment.timestamp() * 1000), _MAX_MILLISECONDS))


def _encode(value: int) -> str:
    return "".join([_ALPHABET[value >> shift & 31] for shift in range(125, -1, -5)])
