"""Find jobs of all tenants, and count them by status."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import batched, islice
from operator import itemgetter
from typing import TYPE_CHECKING

from replicate_proxy.jobs.model import ACTIVE_STATUSES, TERMINAL_STATUSES, JobStatus
from replicate_proxy.operations.job_ports import UnfinishedJobs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from datetime import date

    from replicate_proxy.jobs.job_filter import JobFilter
    from replicate_proxy.jobs.model import Job
    from replicate_proxy.operations.job_ports import JobEntry, JobIndex
    from replicate_proxy.ports import Clock
    from replicate_proxy.usage.report import UsageReader

_OVERDUE_AFTER = timedelta(minutes=3)
# A page reads at most so many parts of an index, and goes on by cursor.
_MAX_READS = 10
_MAX_READ_JOBS = 1000
# A list of all matches reads more: entries of an index, and jobs whose entries do not say if they match.
_MAX_LISTED_ENTRIES = 50_000
_MAX_LISTED_JOBS = 10_000
# The statuses of so many jobs are read to know which of the others have succeeded.
_MAX_STATUSES = 50_000
# BatchGetItem reads at most 100 items.
_BATCH_SIZE = 100
_INDEX_READ_SIZE = 1000
_READ_GROWTH = 4
# An entry has at most 280 bytes, and a response of DynamoDB 1 MB.
_LIST_READ_SIZE = 3000
_COUNTED_DAYS = 2
# Jobs that ended so have an index of their own.
_LISTED_OUTCOMES = frozenset({JobStatus.FAILED, JobStatus.CANCELED})

type _ListEntries = Callable[[str | None, int], Sequence[JobEntry]]


@dataclass(frozen=True, slots=True)
class JobSearchPage:
    """Jobs, newest first; the next page has those before `next_before_id`, None at the end.

    A page can have fewer jobs than asked for, or none, although others follow.
    """

    jobs: tuple[Job, ...]
    next_before_id: str | None


@dataclass(frozen=True, slots=True)
class JobMatches:
    """The index entries of matching jobs, newest first; incomplete if more match, or may do so."""

    entries: tuple[JobEntry, ...]
    is_complete: bool


@dataclass(frozen=True, slots=True)
class UnfinishedSummary:
    """How many jobs are unfinished, by status; more if it is incomplete. `overdue`: the longest overdue."""

    by_status: Mapping[JobStatus, int]
    is_complete: bool
    overdue: tuple[JobEntry, ...]
    overdue_count: int


@dataclass(frozen=True, slots=True)
class JobCounts:
    """Unfinished jobs by status, and those that ended since the start of a day (UTC), by what is counted.

    `overdue` of the unfinished ones have not been checked in time.
    """

    unfinished: Mapping[JobStatus, int]
    is_complete: bool
    overdue: int
    ended: Mapping[JobStatus, int]
    ended_since: date


class JobSearch:
    """Searches by the index that fits the filter; what a page reads does not depend on the stored jobs."""

    def __init__(self, index: JobIndex, usage: UsageReader, clock: Clock) -> None:
        self._index = index
        self._usage = usage
        self._clock = clock

    def find(self, job_id: str) -> JobEntry | None:
        """Return the tenant of a job, None if there is no such job."""
        return self._index.find(job_id)

    def search(self, job_filter: JobFilter, *, before_id: str | None, limit: int) -> JobSearchPage:
        """Return a page of the matching jobs."""
        list_entries = self._choose_list(job_filter)
        position = min(filter(None, (before_id, job_filter.before_id)), default=None)
        found: list[Job] = []
        size, max_size = _choose_read_sizes(job_filter, limit)
        read_count = 0
        for _ in range(_MAX_READS):
            entries = list_entries(position, size)
            for some in batched(_select(job_filter, entries), max(limit, _BATCH_SIZE), strict=False):
                jobs = self._index.get_jobs(some)
                for entry in some:
                    job = jobs.get(entry.id)
                    if job is not None and job_filter.matches(job):
                        found.append(job)
                    if len(found) == limit:
                        is_last = len(entries) < size and entry is entries[-1]
                        return JobSearchPage(tuple(found), None if is_last else entry.id)
                read_count += len(some)
                if read_count >= _MAX_READ_JOBS:
                    return JobSearchPage(tuple(found), some[-1].id)
            if len(entries) < size:
                return JobSearchPage(tuple(found), None)
            position, size = entries[-1].id, min(size * _READ_GROWTH, max_size)
        return JobSearchPage(tuple(found), position)

    def list_matches(self, job_filter: JobFilter, *, limit: int) -> JobMatches:
        """Return which jobs match, at most `limit`. What is read is bounded as well."""
        unfinished = self._read_unfinished(job_filter) if _is_unfinished(job_filter) else None
        entries = unfinished.entries if unfinished is not None else self._read_entries(job_filter)
        is_complete = unfinished is None or unfinished.is_complete
        found: list[JobEntry] = []
        entry_count = job_count = 0
        for some in batched(entries, _INDEX_READ_SIZE, strict=False):
            entry_count += len(some)
            undecided = [each for each in _select(job_filter, some) if not _is_decided(job_filter, each)]
            job_count += len(undecided)
            if entry_count > _MAX_LISTED_ENTRIES or job_count > _MAX_LISTED_JOBS:
                return JobMatches(tuple(found), is_complete=False)
            jobs = self._index.get_jobs(undecided) if undecided else {}
            for entry in _select(job_filter, some):
                job = jobs.get(entry.id)
                if _is_decided(job_filter, entry) or (job is not None and job_filter.matches(job)):
                    found.append(entry)
            if len(found) > limit:
                return JobMatches(tuple(found[:limit]), is_complete=False)
        return JobMatches(tuple(found), is_complete)

    def _read_entries(self, job_filter: JobFilter) -> Iterator[JobEntry]:
        """Return the entries of the index that fits, with a status where that saves reading jobs."""
        entries = _iterate(self._choose_list(job_filter), job_filter.before_id)
        statuses = None
        if _restricts_status(job_filter) and not job_filter.reads_content and job_filter.end_reason is None:
            statuses = self._read_statuses(job_filter)
        if statuses is None:
            return entries
        return (
            entry if entry.status else replace(entry, status=statuses.get(entry.id, JobStatus.SUCCEEDED))
            for entry in entries
        )

    def _read_statuses(self, job_filter: JobFilter) -> Mapping[str, JobStatus] | None:
        """Return the status of each job that has not succeeded, None if there are too many of them.

        It has no failed and canceled jobs for a filter that selects all jobs that have ended.
        """
        unfinished = self._index.list_unfinished()
        if not unfinished.is_complete:
            return None
        entries: list[JobEntry] = list(unfinished.entries)
        if not job_filter.statuses >= TERMINAL_STATUSES:
            list_ended = self._choose_list(replace(job_filter, statuses=_LISTED_OUTCOMES))
            ended = _iterate(list_ended, job_filter.before_id)
            entries += islice(ended, _MAX_STATUSES + 1)
        if len(entries) > _MAX_STATUSES:
            return None
        return {entry.id: entry.status for entry in entries if entry.status is not None}

    def count(self) -> JobCounts:
        """Count the unfinished jobs exactly, and by usage those that have ended since yesterday."""
        unfinished = self.summarize_unfinished()
        today = self._clock.now().date()
        since = today - timedelta(days=_COUNTED_DAYS - 1)
        usage = self._usage.report(None, since, today, ()).total
        return JobCounts(
            unfinished.by_status,
            unfinished.is_complete,
            unfinished.overdue_count,
            {
                JobStatus.SUCCEEDED: usage.succeeded,
                JobStatus.FAILED: usage.failed,
                JobStatus.CANCELED: usage.canceled,
            },
            since,
        )

    def summarize_unfinished(self, *, max_overdue: int = 0) -> UnfinishedSummary:
        """Count the unfinished jobs exactly, and list those whose check is late by three minutes."""
        unfinished = self._index.list_unfinished()
        counts = Counter(entry.status for entry in unfinished.entries)
        by_status = {status: counts[status] for status in JobStatus if status in ACTIVE_STATUSES}
        latest = self._clock.now() - _OVERDUE_AFTER
        checks = [(entry.next_check_at, entry) for entry in unfinished.entries if entry.next_check_at]
        overdue = sorted((check for check in checks if check[0] < latest), key=itemgetter(0))
        return UnfinishedSummary(
            by_status,
            unfinished.is_complete,
            tuple(entry for _, entry in overdue[:max_overdue]),
            len(overdue),
        )

    def _choose_list(self, job_filter: JobFilter) -> _ListEntries:
        statuses, min_id = job_filter.statuses, job_filter.min_id
        if _is_unfinished(job_filter):
            return self._list_unfinished(job_filter)
        if statuses and statuses <= _LISTED_OUTCOMES:
            return lambda before, size: self._list_ended(statuses, before, min_id, size)
        tenant = job_filter.tenant
        if tenant is not None:
            return lambda before, size: self._index.list_of_tenant(
                tenant, before_id=before, min_id=min_id, limit=size
            )
        return lambda before, size: self._index.list_all(before_id=before, min_id=min_id, limit=size)

    def _list_ended(
        self, statuses: Iterable[JobStatus], before: str | None, min_id: str | None, size: int
    ) -> Sequence[JobEntry]:
        """Return failed or canceled jobs, or both."""
        entries = [
            replace(entry, status=status)
            for status in statuses
            for entry in self._index.list_ended(status, before_id=before, min_id=min_id, limit=size)
        ]
        return sorted(entries, key=lambda entry: entry.id, reverse=True)[:size]

    def _read_unfinished(self, job_filter: JobFilter) -> UnfinishedJobs:
        """Return the unfinished jobs that may match, newest first, each once.

        The index is in the order of their checks: a job that moves while it is read can be in it twice.
        """
        low, high = job_filter.min_id or "0", job_filter.before_id or "~"
        unfinished = self._index.list_unfinished()
        entries = {
            entry.id: entry
            for entry in unfinished.entries
            if low <= entry.id < high and _may_match(job_filter, entry)
        }
        newest_first = tuple(entries[job_id] for job_id in sorted(entries, reverse=True))
        return UnfinishedJobs(newest_first, unfinished.is_complete)

    def _list_unfinished(self, job_filter: JobFilter) -> _ListEntries:
        """Read the index of unfinished jobs once: it is in another order."""
        entries = self._read_unfinished(job_filter).entries

        def list_entries(before: str | None, size: int) -> Sequence[JobEntry]:
            return [entry for entry in entries if before is None or entry.id < before][:size]

        return list_entries


def _is_unfinished(job_filter: JobFilter) -> bool:
    """Return whether only unfinished jobs match, which have an index of their own."""
    return bool(job_filter.statuses) and job_filter.statuses <= ACTIVE_STATUSES


def _choose_read_sizes(job_filter: JobFilter, limit: int) -> tuple[int, int]:
    """Return how many entries to read at first, and at most with each further read.

    Nearly all jobs match many filters, so that little more than a page is read at first. The reads grow where
    the entries themselves say which do not match.
    """
    if not (_restricts_status(job_filter) or job_filter.end_reason or job_filter.reads_content):
        return limit, limit
    is_selective = job_filter.tenant or job_filter.end_reason
    return limit + limit // 4, _INDEX_READ_SIZE if is_selective else max(limit, _BATCH_SIZE)


def _iterate(list_entries: _ListEntries, position: str | None) -> Iterator[JobEntry]:
    """Yield all entries before a position, reading a part of them at a time."""
    while True:
        entries = list_entries(position, _LIST_READ_SIZE)
        yield from entries
        if len(entries) < _LIST_READ_SIZE:
            return
        position = entries[-1].id


def _restricts_status(job_filter: JobFilter) -> bool:
    return 0 < len(job_filter.statuses) < len(JobStatus)


def _select(job_filter: JobFilter, entries: Iterable[JobEntry]) -> Iterator[JobEntry]:
    return (entry for entry in entries if _may_match(job_filter, entry))


def _may_match(job_filter: JobFilter, entry: JobEntry) -> bool:
    """Return whether the job of an index entry can match, by what the entry says."""
    statuses, end_reason = job_filter.statuses, job_filter.end_reason
    return (
        (job_filter.tenant is None or entry.tenant == job_filter.tenant)
        and (entry.status is None or not statuses or entry.status in statuses)
        and (entry.end_reason is None or end_reason in (None, entry.end_reason))
    )


def _is_decided(job_filter: JobFilter, entry: JobEntry) -> bool:
    """Return whether a job that may match by its index entry does."""
    return (
        not job_filter.reads_content
        and (not _restricts_status(job_filter) or entry.status is not None)
        and (job_filter.end_reason is None or entry.end_reason is not None)
    )
