"""Reading what is due until nothing is left, without reading the same twice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from replicate_proxy.ports import DueJob

_PAGE_SIZE = 100


class DueJobLister(Protocol):
    """Lists the longest due jobs."""

    def __call__(self, *, before: datetime, limit: int) -> Sequence[DueJob]: ...


class DueJobReader:
    """Reads pages of due jobs, without the rows that it has returned before.

    The index lags behind the table, and a job whose handling failed is due again: such rows are skipped.
    """

    def __init__(self, list_due: DueJobLister) -> None:
        self._list_due = list_due
        self._seen: set[DueJob] = set()
        self._skipped_rows = 0
        self.is_at_end = False
        """Whether the last page was empty because nothing else is due."""

    def read_page(self, now: datetime) -> list[DueJob]:
        limit = _PAGE_SIZE + self._skipped_rows
        rows = self._list_due(before=now, limit=limit)
        page = [row for row in rows if row not in self._seen]
        self._skipped_rows = len(rows) - len(page)
        self._seen.update(page)
        self.is_at_end = not page and len(rows) < limit
        return page
