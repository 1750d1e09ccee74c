"""Finds model entries, with a cache: a change takes effect within seconds."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

from replicate_proxy.cached_reading import CachedReading

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicate_proxy.model_entries.document import EntryStore
    from replicate_proxy.model_entries.entry import ModelEntry

_CACHE_SECONDS = 10.0


class EntryDirectory(Protocol):
    """Finds entries."""

    def find(self, name: str | None) -> ModelEntry | None:
        """Return the entry of a model. Raises RetryableError if the entries cannot be read."""
        ...


class ModelEntryDirectory:
    """Entries by name, read again after `cache_seconds`, or later while the table cannot be reached."""

    def __init__(
        self,
        store: EntryStore,
        *,
        cache_seconds: float = _CACHE_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._document = CachedReading(
            "model entries", store.read, max_age_seconds=cache_seconds, monotonic=monotonic
        )

    def find(self, name: str | None) -> ModelEntry | None:
        """Return the entry of a model. Raises RetryableError if the entries were not read in the last minute.

        What an entry forces or forbids must not be left out, so a request then waits for its repetition.
        """
        return self._document.get().entries.get(name) if name else None


class NoEntries:
    """The same interface without entries, for tests and tools without a control table."""

    def find(self, name: str | None) -> ModelEntry | None:  # noqa: ARG002 - the interface
        return None
