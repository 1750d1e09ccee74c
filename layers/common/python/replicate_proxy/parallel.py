"""Reads that wait for AWS, made at the same time."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MAX_THREADS = 8


def map_in_parallel[Value, Result](read: Callable[[Value], Result], values: Sequence[Value]) -> list[Result]:
    """Return the result of each value in their order. Raises what the first failed read raises."""
    if len(values) <= 1:
        return [read(value) for value in values]
    with ThreadPoolExecutor(min(MAX_THREADS, len(values))) as executor:
        return list(executor.map(read, values))
