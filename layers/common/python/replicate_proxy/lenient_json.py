"""Parse JSON from Replicate: accept its defects, and return only what can be written back as JSON.

What a model leaves in an output, in metrics or in logs is not under Replicate's control, and a report that is
not parsed is a result that is lost. So every value becomes one that any JSON parser reads, by these rules:

* NaN and infinity, which are not JSON, become null.
* A number that a double cannot hold (`1e400`, an integer of 400 digits) becomes its text, as many parsers
  would read it as infinity, or not at all.
* What is nested deeper than MAX_DEPTH levels becomes its JSON as text.
* Invalid UTF-8 and lone surrogates are replaced, control characters in strings are accepted, and of duplicate
  keys the last one counts.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

# Parsers of our callers stop at some depth (System.Text.Json at 64, serde_json at 128 levels).
MAX_DEPTH = 100

# A double has at most 309 digits before the point, so a shorter integer needs no check.
_MAX_UNCHECKED_DIGITS = 308
_STRING_OR_BRACKET = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[{\]}]', re.DOTALL)


def parse_lenient_json(body: bytes) -> Any:
    """Parse the body. Raises ValueError if it is not JSON at all."""
    text = _flatten(body.decode("utf-8-sig", "replace"))
    try:
        parsed = json.loads(
            text,
            strict=False,
            parse_constant=lambda _: None,
            parse_float=_parse_float,
            parse_int=_parse_int,
        )
    except RecursionError as error:
        raise ValueError("the brackets are not balanced") from error
    return _replace_surrogates(parsed) if b"\\u" in body else parsed


def _parse_float(text: str) -> float | str:
    number = float(text)
    return number if math.isfinite(number) else text


def _parse_int(text: str) -> int | str:
    if len(text) > _MAX_UNCHECKED_DIGITS and not math.isfinite(float(text)):
        return text
    return int(text)


def _flatten(text: str) -> str:
    """Return the text with values that are nested deeper than MAX_DEPTH as JSON strings."""
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return text
    parts: list[str] = []
    depth = copied_to = value_start = 0
    for match in _STRING_OR_BRACKET.finditer(text):
        found = match[0]
        if found in "[{":
            depth += 1
            if depth == MAX_DEPTH + 1:
                value_start = match.start()
        elif found in "]}":
            depth -= 1
            if depth == MAX_DEPTH:
                parts += [text[copied_to:value_start], json.dumps(text[value_start : match.end()])]
                copied_to = match.end()
    return "".join([*parts, text[copied_to:]])


def _replace_surrogates(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_replace_surrogates(entry) for entry in value]
    if isinstance(value, dict):
        return {_replace_surrogates(key): _replace_surrogates(entry) for key, entry in value.items()}
    return value
