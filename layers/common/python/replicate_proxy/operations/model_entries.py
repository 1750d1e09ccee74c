"""Administration of model entries."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from replicate_proxy.audit.model import AuditAction
from replicate_proxy.errors import (
    ApiError,
    ConflictError,
    RetryableError,
    UnknownNameError,
    field_error,
    field_errors,
)
from replicate_proxy.model_entries.document import MAX_DOCUMENT_BYTES, MAX_ENTRIES, encode_entries
from replicate_proxy.observability import logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from replicate_proxy.audit.log import AuditLog
    from replicate_proxy.errors import InvalidField
    from replicate_proxy.model_entries.document import EntryDocument, EntryStore
    from replicate_proxy.model_entries.entry import ModelEntry

_MAX_ATTEMPTS = 5


class ModelEntryService:
    """Changes entries one by one or all at once.

    `if_match` is the ETag that the caller has read, None to change whatever is there. `find_errors` returns
    what the model would refuse of the fields that an entry sets. `on_changed` is called with the names of the
    entries that a change has touched; it must not raise.
    """

    def __init__(
        self,
        store: EntryStore,
        audit: AuditLog,
        find_errors: Callable[[ModelEntry], Sequence[InvalidField]] = lambda _entry: (),
        *,
        on_changed: Callable[[Iterable[str]], None] = lambda _names: None,
    ) -> None:
        self._store = store
        self._audit = audit
        self._find_errors = find_errors
        self._on_changed = on_changed

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
        """Create or replace one entry. Raises a 422 ApiError if its model would refuse what it sets."""
        if errors := self._find_errors(entry):
            raise field_errors(errors)
        return self._put_one(AuditAction.PUT_MODEL_ENTRY, entry.name, entry, if_match)

    def delete(self, name: str, *, if_match: str | None) -> None:
        """Raise UnknownNameError if there is no such entry."""
        self.get(name)
        self._put_one(AuditAction.DELETE_MODEL_ENTRY, name, None, if_match)

    def replace_all(self, entries: Mapping[str, ModelEntry], *, if_match: str | None) -> EntryDocument:
        """Replace all entries by these, of which each is checked like one."""
        errors = [
            replace(error, field=f"models.{index}.{error.field}")
            for index, entry in enumerate(entries.values())
            for error in self._find_errors(entry)
        ]
        if errors:
            raise field_errors(errors)
        stored = self._store.read()
        described = _describe(stored, list(stored.entries))
        with self._audit.change(AuditAction.REPLACE_MODEL_ENTRIES, "models", before=described) as change:
            before, after = self._change(entries, if_match, is_complete=True)
            names = _list_changed(before, after)
            change.before, change.after = _describe(before, names), _describe(after, names)
        self._on_changed(names)
        return after

    def _put_one(
        self, action: AuditAction, name: str, entry: ModelEntry | None, if_match: str | None
    ) -> EntryDocument:
        described = _describe(self._store.read(), [name])
        with self._audit.change(action, f"models/{name}", before=described) as change:
            before, after = self._change({name: entry}, if_match, is_complete=False)
            change.before, change.after = _describe(before, [name]), _describe(after, [name])
        self._on_changed([name])
        return after

    def _change(
        self, changes: Mapping[str, ModelEntry | None], if_match: str | None, *, is_complete: bool
    ) -> tuple[EntryDocument, EntryDocument]:
        """Return the document before and after the changes."""
        for _ in range(_MAX_ATTEMPTS):
            document = self._store.read()
            if if_match not in (None, "*", document.etag):
                detail = f"The entries are at {document.etag}: read them again, and repeat the change"
                raise ApiError(412, "Entries have changed", detail, headers={"etag": document.etag})
            merged = {**({} if is_complete else document.entries), **changes}
            entries = {name: entry for name, entry in merged.items() if entry is not None}
            if len(entries) > max(MAX_ENTRIES, len(document.entries)):
                raise field_error("", f"there can be at most {MAX_ENTRIES} entries")
            if len(encode_entries(entries).encode()) > MAX_DOCUMENT_BYTES:
                raise field_error("", f"all entries together must have at most {MAX_DOCUMENT_BYTES} bytes")
            try:
                changed = self._store.replace(entries, revision=document.revision)
            except ConflictError:
                continue
            _log_change(document, changed)
            return document, changed
        raise RetryableError("too many concurrent changes of the model entries", retry_after=1)


def _log_change(before: EntryDocument, after: EntryDocument) -> None:
    """Log the names of the entries that were changed; the operator's key is in every line of the function."""
    names = _list_changed(before, after)
    logger.info("model entries changed", revision=after.revision, names=names)


def _list_changed(before: EntryDocument, after: EntryDocument) -> list[str]:
    names = {*before.entries, *after.entries}
    return sorted(name for name in names if before.entries.get(name) != after.entries.get(name))


def _describe(document: EntryDocument, names: Sequence[str]) -> dict[str, Any]:
    """Return the entries with these names, and digests in place of the values of input fields."""
    return {name: _describe_entry(document.entries[name]) for name in names if name in document.entries}


def _describe_entry(entry: ModelEntry) -> dict[str, Any]:
    digests = {
        name: {field: _digest(value) for field, value in getattr(entry, name).items()}
        for name in ("defaults", "forced")
    }
    return {**asdict(entry), **digests}


def _digest(value: Any) -> str:
    """Return enough to see that a value has changed."""
    text = json.dumps(value, sort_keys=True)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()[:12]}"
