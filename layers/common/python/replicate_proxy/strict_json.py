"""JSON from callers, as RFC 8259 has it and as it can be given back: Python's own reader takes more. Pure."""

from __future__ import annotations

import json
import math
from typing import Any


def parse_strict_json(body: bytes) -> Any:
    """Raises ValueError or RecursionError: UnicodeDecodeError where the body is not UTF-8, JSONDecodeError
    where it breaks off, UnicodeEncodeError for half of a surrogate pair, ValueError for a number out of
    bounds.
    """
    parsed = json.loads(body.decode("utf-8"), parse_constant=_no_constant, parse_float=_finite)
    # Half of a surrogate pair is legal JSON, and no text that anybody could store.
    if b"\\u" in body:
        json.dumps(parsed, ensure_ascii=False).encode("utf-8")
    return parsed


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    """1e999 is legal JSON; Python would read it as infinity, which nobody could be given back."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number is out of bounds")
    return number
