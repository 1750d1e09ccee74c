"""Finds model entries, with a cache: a change takes effect within seconds."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

from replicate_proxy.errors import RetryableError
from replicate_proxy.observability import logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicate_proxy.model_entries.document import EntryDocument, EntryStore
    from replicate_proxy.model_entries.entry import ModelEntry

_CACHE_SECONDS = 10.0


class EntryDirectory(Protocol):
    """Finds entries."""

    def find(self, name: str | None) -> ModelEntry | None:
        """Return the entry of a model. Raises RetryableError if the entries cannot be read."""
        ...


class ModelEntryDirectory:
    """Entries by name, read again after `_CACHE_SECONDS`, or later while the table cannot be reached."""

    def __init__(self, store: EntryStore, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._monotonic = monotonic
        self._document: EntryDocument | None = None
        self._fresh_until = 0.0

    def find(self, name: str | None) -> ModelEntry | None:
        """Return the entry of a model. Raises RetryableError if the entries were never read.

        What an entry forces or forbids must not be left out, so a request then waits for its repetition.
        """
        if not name:
            return None
        if self._document is None or self._monotonic() >= self._fresh_until:
            self._document = self._read()
            self._fresh_until = self._monotonic() + _CACHE_SECONDS
        return self._document.entries.get(name)

    def _read(self) -> EntryDocument:
        try:
            return self._store.read()
        except RetryableError as error:
            if self._document is None:
                raise
            logger.warning("model entries not read again", reason=str(error))
            return self._document


class NoEntries:
    """The same interface without entries, for tests and tools without a control table."""

    def find(self, name: str | None) -> ModelEntry | None:  # noqa: ARG002 - the interface
        return None
