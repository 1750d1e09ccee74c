"""Read the audit trail, and verify that no record was changed, removed or inserted."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from replicate_proxy.audit.model import ChainHead, build_position, calculate_hash

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from replicate_proxy.audit.model import AuditFilter, AuditRecord
    from replicate_proxy.audit.ports import AuditPage, AuditReader

MAX_VERIFIED_RECORDS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """The verification of some records of the chain, in order.

    `error` says what is wrong at `sequence`, and is empty if nothing is. `head` is the last record of the
    whole chain. The next records follow `next_position`, None if none do.
    """

    checked: int
    head: ChainHead
    error: str = ""
    sequence: int | None = None
    next_position: str | None = None

    @property
    def is_valid(self) -> bool:
        return not self.error


class AuditTrail:
    """The records of the changes. `close_abandoned` writes those of changes whose process has ended."""

    def __init__(self, reader: AuditReader, close_abandoned: Callable[[], None]) -> None:
        self._reader = reader
        self._close_abandoned = close_abandoned

    def list_records(
        self, audit_filter: AuditFilter, *, before_position: str | None, limit: int
    ) -> AuditPage:
        """Return a page of records, newest first."""
        if before_position is None:
            self._close_abandoned()
        return self._reader.list_records(audit_filter, before_position=before_position, limit=limit)

    def verify(self, *, after_position: str | None = None, limit: int = MAX_VERIFIED_RECORDS) -> Verification:
        """Verify the records after a position, from the first one by default.

        Each record must be numbered and hashed after its predecessor. At the end the chain must have reached
        its head, which is stored apart from the records: the last ones cannot be removed unnoticed.
        """
        head = self._reader.read_head()
        predecessor = self._find_predecessor(after_position)
        records = self._reader.list_chain(after_position=after_position, limit=limit)
        broken = _find_break(predecessor, records)
        if broken is not None:
            return Verification(checked=len(records), head=head, error=broken[1], sequence=broken[0])
        if len(records) == limit:
            return Verification(checked=len(records), head=head, next_position=build_position(records[-1]))
        end = _head_of(records[-1]) if records else predecessor
        error = self._compare_end(end, head, records)
        return Verification(
            checked=len(records), head=head, error=error, sequence=end.sequence if error else None
        )

    def _find_predecessor(self, position: str | None) -> ChainHead:
        if position is None:
            return ChainHead()
        # Verified with the page before, which ended there.
        found = self._reader.list_chain(after_position=_build_position_before(position), limit=1)
        return _head_of(found[0]) if found and build_position(found[0]) == position else ChainHead()

    def _compare_end(self, end: ChainHead, head: ChainHead, records: Sequence[AuditRecord]) -> str:
        """Return what is wrong with the end of the chain; others may have appended to it meanwhile."""
        if end.sequence < head.sequence:
            return f"records {end.sequence + 1} to {head.sequence} are missing"
        at_head = next((record.hash for record in records if record.sequence == head.sequence), end.hash)
        if at_head != head.hash:
            return "the record does not have the hash of the head"
        if end.sequence > head.sequence and self._reader.read_head().sequence < end.sequence:
            return "the record was not appended by the service"
        return ""


def _build_position_before(position: str) -> str:
    at, _, number = position.partition("#")
    return f"{at}#{int(number) - 1:010d}"


def _head_of(record: AuditRecord) -> ChainHead:
    return ChainHead(record.sequence, record.at, record.hash)


def _find_break(predecessor: ChainHead, records: Sequence[AuditRecord]) -> tuple[int, str] | None:
    """Return the number of the first record that does not follow its predecessor, and why."""
    for record in records:
        if record.sequence != predecessor.sequence + 1:
            return record.sequence, f"follows record {predecessor.sequence}: records were removed or inserted"
        if record.previous_hash != predecessor.hash:
            return record.sequence, "does not have the hash of its predecessor"
        if record.hash != calculate_hash(asdict(record)):
            return record.sequence, "was changed: its content does not have its hash"
        predecessor = _head_of(record)
    return None
