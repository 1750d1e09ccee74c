"""The document of all model entries in one item of the control table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicate_proxy.aws.control_table import ConditionFailedError
from replicate_proxy.errors import ConflictError
from replicate_proxy.model_entries.document import EntryDocument, decode_entries, encode_entries

if TYPE_CHECKING:
    from collections.abc import Mapping

    from replicate_proxy.aws.control_table import ControlTable, Record
    from replicate_proxy.model_entries.entry import ModelEntry

_KEY = "MODEL-ENTRIES"


class DynamoModelEntryStore:
    """The EntryStore port on the control table."""

    def __init__(self, table: ControlTable) -> None:
        self._table = table

    def read(self) -> EntryDocument:
        return _document_from_record(self._table.read(_KEY))

    def replace(self, entries: Mapping[str, ModelEntry], *, revision: int) -> EntryDocument:
        """The SDK repeats a request whose response is lost, and then finds its own write.

        It recognizes that by the same entries under the next revision.
        """
        text = encode_entries(entries)
        values: dict[str, str | int] = {"entries": text, "new": revision + 1}
        condition = "attribute_not_exists(revision)"
        if revision:
            values["revision"] = revision
            condition = "revision = :revision"
        try:
            record = self._table.update(
                _KEY, "SET entries = :entries, revision = :new", values, condition=condition
            )
        except ConditionFailedError as error:
            record = error.record
            if record.get("revision") != revision + 1 or record.get("entries") != text:
                raise ConflictError("the model entries have changed") from error
        return _document_from_record(record)


def _document_from_record(record: Record) -> EntryDocument:
    return EntryDocument(decode_entries(record.get("entries", "[]")), int(record.get("revision", 0)))
