"""Ids that sort by time: 26 characters of [0-9a-z], the length and alphabet of Replicate's own prediction
ids.

A ULID in lower case (github.com/ulid/spec): 48 bits of milliseconds, then 80 random bits, in Crockford's base
32.
"""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime


ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
ID_LENGTH = 26
_SHAPE = re.compile(r"[0-9a-z]{26}")
_RANDOM_BITS = 80


def generate_id(now: datetime) -> str:
    """A fresh id for something made at `now`."""
    return _encode(_milliseconds(now) << _RANDOM_BITS | secrets.randbits(_RANDOM_BITS))


def min_id_at(moment: datetime) -> str:
    """The id below every id made at or after `moment`: turns a time filter into a key range."""
    return _encode(_milliseconds(moment) << _RANDOM_BITS)


def is_id(text: str) -> bool:
    """Whether the text has the shape of an id; says nothing about whether such a thing exists."""
    return _SHAPE.fullmatch(text) is not None


def _milliseconds(moment: datetime) -> int:
    return max(0, min(int(moment.timestamp() * 1000), (1 << 48) - 1))


def _encode(value: int) -> str:
    return "".join(ALPHABET[value >> shift & 31] for shift in range(125, -1, -5))
