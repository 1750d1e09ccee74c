"""Interfaces of usage to its store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from replicate_proxy.usage.model import EndedJob, UsageEntry, UsageKey


class UsageReads(Protocol):
    """Reads of what was counted."""

    def list_entries(self, tenant: str, first_day: str, last_day: str) -> list[UsageEntry]:
        """Return the tenant's entries of these days (ISO dates, inclusive), by day, model and key."""
        ...

    def list_all_entries(self, day: str) -> list[UsageEntry]:
        """Return the entries of all tenants on a day."""
        ...


class UsageStore(Protocol):
    """Counts ended jobs."""

    def register(self, key: UsageKey) -> bool:
        """Make sure that an entry exists; return False if its day has the most entries already."""
        ...

    def count(self, jobs: Sequence[EndedJob], *, now: datetime) -> None:
        """Add all jobs to their entries, or none.

        Raises ConflictError if one of them is counted already, RetryableError for a temporary failure.
        """
        ...

    def find_counted(self, jobs: Sequence[EndedJob]) -> set[tuple[str, str]]:
        """Return which jobs are counted already, as (tenant, ID)."""
        ...
