"""Values by key in the memory of an execution environment, each fresh for a while."""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class TimedCache[Value]:
    """Keeps the `max_entries` values that were used last.

    Stale values stay until they are evicted, because they count while the source cannot be read.
    """

    def __init__(self, max_entries: int, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._max_entries = max_entries
        self._monotonic = monotonic
        self._entries: OrderedDict[str, tuple[Value, float]] = OrderedDict()

    def find_fresh(self, key: str) -> Value | None:
        """Return the value, None if there is none or it is stale."""
        entry = self._entries.get(key)
        if entry is None or self._monotonic() >= entry[1]:
            return None
        self._entries.move_to_end(key)
        return entry[0]

    def find(self, key: str) -> Value | None:
        """Return the value, fresh or stale."""
        entry = self._entries.get(key)
        return None if entry is None else entry[0]

    def put(self, key: str, value: Value, fresh_seconds: float) -> None:
        self._entries[key] = value, self._monotonic() + fresh_seconds
        self._entries.move_to_end(key)
        if len(self._entries) > self._max_entries:
            self._entries.popitem(last=False)
