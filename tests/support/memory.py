"""Measures how much memory a call takes."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def measure_peak_bytes(call: Callable[[], object]) -> int:
    """Return the most bytes that Python objects took at any time of the call, beyond those before it."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
