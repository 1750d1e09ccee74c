"""Metadata of jobs: a few names with values that the caller chooses, to find its predictions by."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_PAIRS = 10
MAX_NAME_CHARS = 40
MAX_VALUE_CHARS = 100
_NAME = re.compile(rf"[A-Za-z0-9_.-]{{1,{MAX_NAME_CHARS}}}", re.ASCII)
# Printable ASCII but for the comma, which separates pairs, without spaces at the ends.
_VALUE = re.compile(rf"(?! )[\x20-\x2b\x2d-\x7e]{{1,{MAX_VALUE_CHARS}}}(?<! )", re.ASCII)

NAME_RULE = f"must have 1 to {MAX_NAME_CHARS} of the characters A-Z a-z 0-9 _ . -"
VALUE_RULE = (
    f"must have 1 to {MAX_VALUE_CHARS} printable ASCII characters, without commas, or spaces at its ends"
)


def parse_metadata(text: str) -> dict[str, str]:
    """Return the pairs of a text like `order=42,user=7`.

    Raises ValueError, which says what is wrong with which pair, and repeats nothing of the text.
    """
    parts = text.split(",")
    if len(parts) > MAX_PAIRS:
        raise ValueError(f"must have at most {MAX_PAIRS} pairs")
    pairs: dict[str, str] = {}
    for number, part in enumerate(parts, start=1):
        name, separator, value = part.partition("=")
        name, value = name.strip(" "), value.strip(" ")
        if not separator:
            raise ValueError(f"must be pairs like order=42,user=7; pair {number} has no equals sign")
        if not is_metadata_name(name):
            raise ValueError(f"the name of pair {number} {NAME_RULE}")
        if not is_metadata_value(value):
            raise ValueError(f"the value of pair {number} {VALUE_RULE}")
        if name in pairs:
            raise ValueError(f"pair {number} has the name of an earlier one")
        pairs[name] = value
    return pairs


def format_metadata(metadata: Mapping[str, str]) -> str:
    """Return the text from which `parse_metadata` makes the same pairs."""
    return ",".join(f"{name}={value}" for name, value in metadata.items())


def is_metadata_name(text: str) -> bool:
    return _NAME.fullmatch(text) is not None


def is_metadata_value(text: str) -> bool:
    return _VALUE.fullmatch(text) is not None
