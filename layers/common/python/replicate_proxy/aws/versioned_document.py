"""A JSON document in one record of the control table, which is replaced as a whole."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from replicate_proxy.aws.control_table import ConditionFailedError
from replicate_proxy.errors import ConflictError

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicate_proxy.aws.control_table import ControlTable, Record

_MAX_ATTEMPTS = 5


class Version(NamedTuple):
    """The text of a document, empty if there is none, and the revision that each change increments."""

    text: str
    revision: int


class VersionedDocument:
    """The document under a key of the control table."""

    def __init__(self, table: ControlTable, key: str) -> None:
        self._table = table
        self._key = key

    def read(self) -> Version:
        return _version_from_record(self._table.read(self._key))

    def replace(self, text: str, *, revision: int) -> Version:
        """Store the text in place of that of the revision. Raises ConflictError if that has changed.

        The SDK repeats a request whose response is lost: the same text under the next revision is then this
        write's own.
        """
        values: dict[str, str | int] = {"text": text, "new": revision + 1}
        condition = "attribute_not_exists(revision)"
        if revision:
            values["revision"] = revision
            condition = "revision = :revision"
        expression = "SET document = :text, revision = :new"
        try:
            return _version_from_record(
                self._table.update(self._key, expression, values, condition=condition)
            )
        except ConditionFailedError as error:
            stored = _version_from_record(error.record)
            if stored != Version(text, revision + 1):
                raise ConflictError(f"{self._key} has changed") from error
            return stored

    def change(self, change: Callable[[str], str]) -> str:
        """Store what the change makes of the text, and return it. The change may be applied again.

        Raises ConflictError if others keep changing the document.
        """
        for _ in range(_MAX_ATTEMPTS):
            version = self.read()
            text = change(version.text)
            with suppress(ConflictError):
                self.replace(text, revision=version.revision)
                return text
        raise ConflictError(f"{self._key} keeps changing")


def _version_from_record(record: Record) -> Version:
    return Version(str(record.get("document", "")), int(record.get("revision", 0)))
