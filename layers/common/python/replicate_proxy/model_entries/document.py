"""All model entries as one document: they are few, and are read as a whole."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Protocol

from replicate_proxy.model_entries.entry import ModelEntry

if TYPE_CHECKING:
    from collections.abc import Mapping

# An export with more could not be imported again.
MAX_ENTRIES = 500
# An item has at most 400 kB (Amazon DynamoDB, quotas).
MAX_DOCUMENT_BYTES = 380_000


@dataclass(frozen=True, slots=True)
class EntryDocument:
    """All entries by name, and the revision that each change increments; 0 is a document without any."""

    entries: Mapping[str, ModelEntry]
    revision: int

    @property
    def etag(self) -> str:
        return f'"{self.revision}"'


class EntryStore(Protocol):
    """Stores the document: `aws.model_entry_store.DynamoModelEntryStore`."""

    def read(self) -> EntryDocument:
        """Return the present document. Raises RetryableError."""
        ...

    def replace(self, entries: Mapping[str, ModelEntry], *, revision: int) -> EntryDocument:
        """Store these entries instead of those of the revision. Raises ConflictError if it has changed."""
        ...


def encode_entries(entries: Mapping[str, ModelEntry]) -> str:
    """Return the entries as JSON, in the order of their names."""
    return json.dumps([asdict(entries[name]) for name in sorted(entries)], ensure_ascii=False)


def decode_entries(text: str) -> dict[str, ModelEntry]:
    """Return the entries by name."""
    return {entry["name"]: ModelEntry.from_record(entry) for entry in json.loads(text)}
