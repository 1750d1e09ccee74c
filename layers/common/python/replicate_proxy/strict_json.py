"""Parse JSON that can be written back: RFC 8259 without what Python's own parser accepts beyond it."""

from __future__ import annotations

import json
import math
from typing import Any


def parse_strict_json(body: bytes) -> Any:
    """Parse the body, or raise ValueError or RecursionError.

    The ValueError is a UnicodeDecodeError if the body is not UTF-8, a JSONDecodeError if it is malformed, a
    UnicodeEncodeError for half of a surrogate pair, and a plain ValueError for a number out of bounds.
    """
    parsed = json.loads(
        body.decode("utf-8"), parse_constant=_reject_constant, parse_float=_parse_finite_float
    )
    # Half of a surrogate pair is valid JSON, but such text cannot be encoded as UTF-8, and so not stored.
    if b"\\u" in body:
        json.dumps(parsed, ensure_ascii=False).encode("utf-8")
    return parsed


def _reject_constant(name: str) -> Any:
    """Reject NaN, Infinity and -Infinity."""
    raise ValueError(f"{name} is not JSON")


def _parse_finite_float(text: str) -> float:
    """Reject numbers such as 1e999, which are valid JSON but become infinity, which is not."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number is out of bounds")
    return number
