"""Reports of usage over some days, grouped as asked."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from datetime import date, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING

from replicate_proxy.parallel import map_in_parallel
from replicate_proxy.usage.model import UsageCounts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from replicate_proxy.usage.model import UsageEntry, UsageKey
    from replicate_proxy.usage.ports import UsageReads

MAX_DAYS = 93
# All tenants are read day by day.
MAX_DAYS_OF_ALL_TENANTS = 31


class UsageGroup(StrEnum):
    """What a report can be grouped by."""

    TENANT = "tenant"
    DAY = "day"
    MODEL = "model"
    KEY = "key"


@dataclass(frozen=True, slots=True)
class UsageRow:
    """The sum of the entries that are alike in `group`; `group` has the values in the order asked for."""

    group: tuple[str, ...]
    counts: UsageCounts


@dataclass(frozen=True, slots=True)
class UsageReport:
    """The rows, in the order of their groups, and the sum of all."""

    first_day: date
    last_day: date
    group_by: tuple[UsageGroup, ...]
    rows: tuple[UsageRow, ...]
    total: UsageCounts

    def regroup(self, *group_by: UsageGroup) -> UsageReport:
        """Return the report with fewer groups, without another read."""
        positions = [self.group_by.index(group) for group in group_by]
        sums: defaultdict[tuple[str, ...], UsageCounts] = defaultdict(UsageCounts)
        for row in self.rows:
            sums[tuple(row.group[position] for position in positions)] += row.counts
        return replace(self, group_by=group_by, rows=_build_rows(sums))


class UsageReader:
    """Reads usage. What a read costs depends on days, models and keys, not on the number of jobs."""

    def __init__(self, store: UsageReads) -> None:
        self._store = store

    def report(
        self, tenant: str | None, first_day: date, last_day: date, group_by: Sequence[UsageGroup]
    ) -> UsageReport:
        """Return the report about one tenant, or about all if `tenant` is None."""
        if tenant is not None:
            entries = self._store.list_entries(tenant, first_day.isoformat(), last_day.isoformat())
        else:
            days = [day.isoformat() for day in _iterate_days(first_day, last_day)]
            found = map_in_parallel(self._store.list_all_entries, days)
            entries = [entry for of_day in found for entry in of_day]
        rows = _group(entries, group_by)
        total = sum((row.counts for row in rows), UsageCounts())
        return UsageReport(first_day, last_day, tuple(group_by), rows, total)


def _group(entries: Iterable[UsageEntry], group_by: Sequence[UsageGroup]) -> tuple[UsageRow, ...]:
    sums: defaultdict[tuple[str, ...], UsageCounts] = defaultdict(UsageCounts)
    for entry in entries:
        sums[tuple(_get_value(entry.key, group) for group in group_by)] += entry.counts
    return _build_rows(sums)


def _build_rows(sums: Mapping[tuple[str, ...], UsageCounts]) -> tuple[UsageRow, ...]:
    return tuple(UsageRow(group, counts) for group, counts in sorted(sums.items(), key=lambda row: row[0]))


def _get_value(key: UsageKey, group: UsageGroup) -> str:
    match group:
        case UsageGroup.TENANT:
            return key.tenant
        case UsageGroup.DAY:
            return key.day
        case UsageGroup.MODEL:
            return key.model
        case UsageGroup.KEY:
            return key.key_id


def _iterate_days(first_day: date, last_day: date) -> Iterator[date]:
    for number in range((last_day - first_day).days + 1):
        yield first_day + timedelta(days=number)
