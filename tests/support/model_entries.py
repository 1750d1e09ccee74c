"""Model entries in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicate_proxy.errors import ConflictError
from replicate_proxy.model_entries.document import EntryDocument

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from replicate_proxy.model_entries.entry import ModelEntry


class FakeEntries:
    """Finds the given entries."""

    def __init__(self, entries: Iterable[ModelEntry] = ()) -> None:
        self.entries = {entry.name: entry for entry in entries}

    def find(self, name: str | None) -> ModelEntry | None:
        return self.entries.get(name or "")


class FakeModelEntryStore:
    """An EntryStore in memory. `conflicts` is how often another writer is faster."""

    def __init__(self) -> None:
        self.document = EntryDocument({}, 0)
        self.conflicts = 0

    def read(self) -> EntryDocument:
        return self.document

    def replace(self, entries: Mapping[str, ModelEntry], *, revision: int) -> EntryDocument:
        if self.conflicts:
            self.conflicts -= 1
            self.document = EntryDocument(self.document.entries, self.document.revision + 1)
        if revision != self.document.revision:
            raise ConflictError("the model entries have changed")
        self.document = EntryDocument(dict(entries), revision + 1)
        return self.document
