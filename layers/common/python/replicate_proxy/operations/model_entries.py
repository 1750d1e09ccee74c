"""Administration of model entries."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicate_proxy.errors import ApiError, ConflictError, RetryableError, UnknownNameError, field_error
from replicate_proxy.model_entries.document import MAX_DOCUMENT_BYTES, encode_entries
from replicate_proxy.observability import logger

if TYPE_CHECKING:
    from collections.abc import Mapping

    from replicate_proxy.model_entries.document import EntryDocument, EntryStore
    from replicate_proxy.model_entries.entry import ModelEntry

_MAX_ATTEMPTS = 5


class ModelEntryService:
    """Changes entries one by one or all at once.

    `if_match` is the ETag that the caller has read, None to change whatever is there.
    """

    def __init__(self, store: EntryStore) -> None:
        self._store = store

    def read(self) -> EntryDocument:
        return self._store.read()

    def get(self, name: str) -> tuple[ModelEntry, EntryDocument]:
        """Return the entry, and the document that it is from. Raises UnknownNameError."""
        document = self._store.read()
        entry = document.entries.get(name)
        if entry is None:
            raise UnknownNameError(f"there is no entry for the model {name}")
        return entry, document

    def put(self, entry: ModelEntry, *, if_match: str | None) -> EntryDocument:
        """Create or replace one entry."""
        return self._change({entry.name: entry}, if_match, is_complete=False)

    def delete(self, name: str, *, if_match: str | None) -> None:
        """Raise UnknownNameError if there is no such entry."""
        self.get(name)
        self._change({name: None}, if_match, is_complete=False)

    def replace_all(self, entries: Mapping[str, ModelEntry], *, if_match: str | None) -> EntryDocument:
        """Replace all entries by these."""
        return self._change(entries, if_match, is_complete=True)

    def _change(
        self, changes: Mapping[str, ModelEntry | None], if_match: str | None, *, is_complete: bool
    ) -> EntryDocument:
        for _ in range(_MAX_ATTEMPTS):
            document = self._store.read()
            if if_match not in (None, "*", document.etag):
                detail = f"The entries are at {document.etag}: read them again, and repeat the change"
                raise ApiError(412, "Entries have changed", detail, headers={"etag": document.etag})
            merged = {**({} if is_complete else document.entries), **changes}
            entries = {name: entry for name, entry in merged.items() if entry is not None}
            if len(encode_entries(entries).encode()) > MAX_DOCUMENT_BYTES:
                raise field_error("", f"all entries together must have at most {MAX_DOCUMENT_BYTES} bytes")
            try:
                changed = self._store.replace(entries, revision=document.revision)
            except ConflictError:
                continue
            _log_change(document, changed)
            return changed
        raise RetryableError("too many concurrent changes of the model entries", retry_after=1)


def _log_change(before: EntryDocument, after: EntryDocument) -> None:
    """Log the names of the entries that were changed; the operator's key is in every line of the function."""
    names = {*before.entries, *after.entries}
    changed = sorted(name for name in names if before.entries.get(name) != after.entries.get(name))
    logger.info("model entries changed", revision=after.revision, names=changed)
