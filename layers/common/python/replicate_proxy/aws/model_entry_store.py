"""The document of all model entries in the control table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicate_proxy.aws.versioned_document import VersionedDocument
from replicate_proxy.model_entries.document import EntryDocument, decode_entries, encode_entries

if TYPE_CHECKING:
    from collections.abc import Mapping

    from replicate_proxy.aws.control_table import ControlTable
    from replicate_proxy.aws.versioned_document import Version
    from replicate_proxy.model_entries.entry import ModelEntry


class DynamoModelEntryStore:
    """The EntryStore port on the control table."""

    def __init__(self, table: ControlTable) -> None:
        self._document = VersionedDocument(table, "MODEL-ENTRIES")

    def read(self) -> EntryDocument:
        return _build_document(self._document.read())

    def replace(self, entries: Mapping[str, ModelEntry], *, revision: int) -> EntryDocument:
        return _build_document(self._document.replace(encode_entries(entries), revision=revision))


def _build_document(version: Version) -> EntryDocument:
    return EntryDocument(decode_entries(version.text or "[]"), version.revision)
