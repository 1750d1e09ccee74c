"""File references in a prediction's output, whatever its shape, in reading order. Pure."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit


def references(output: Any) -> Iterator[str]:
    """Every URL in a JSON value, depth first."""
    if isinstance(output, str):
        if output.startswith(("https://", "http://")):
            yield output
    elif isinstance(output, list):
        for value in output:
            yield from references(value)
    elif isinstance(output, dict):
        for value in output.values():
            yield from references(value)


def key_of(url: str) -> str:
    """The object key that an output URL names."""
    return urlsplit(url).path.lstrip("/")
