"""What the audit trail needs from outside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from replicate_proxy.audit.model import AuditFilter, AuditIntent, AuditRecord, ChainHead


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Records, newest first, and the position at which the next page begins; None at the end."""

    records: tuple[AuditRecord, ...]
    next_position: str | None


class AuditStore(Protocol):
    """Keeps records for ever, and intents until their record is written."""

    def begin(self, intent: AuditIntent) -> None: ...

    def list_abandoned(self, *, before: str, limit: int) -> Sequence[AuditIntent]:
        """Return the oldest intents from before the timestamp."""
        ...

    def read_head(self) -> ChainHead: ...

    def append(self, record: AuditRecord) -> None:
        """Write the record, make it the head of the chain and remove its intent, all or nothing.

        Raises ConflictError if the head is not the predecessor, DuplicateError if the intent is gone, which
        means that another process has written its record.
        """
        ...


class AuditReader(Protocol):
    """Reads the records."""

    def list_records(
        self, audit_filter: AuditFilter, *, before_position: str | None, limit: int
    ) -> AuditPage:
        """Return a page; it may have fewer records than `limit`, or none, although others follow."""
        ...

    def list_chain(self, *, after_position: str | None, limit: int) -> Sequence[AuditRecord]:
        """Return the oldest records after the position, read consistently."""
        ...

    def read_head(self) -> ChainHead: ...
