"""Count each job once when it ends, from the stream of the jobs table.

The stream delivers a change at least once, and a batch again from its start after a failure. A mark of each
job is written in one transaction with the counters, so that a repeated change counts nothing.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from replicate_proxy.errors import ConflictError, PermanentError, RetryableError
from replicate_proxy.observability import logger
from replicate_proxy.usage.model import EndedJob

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from replicate_proxy.ports import Clock
    from replicate_proxy.usage.model import UsageKey
    from replicate_proxy.usage.ports import UsageStore
    from replicate_proxy.webhooks.model import JobChange

# A transaction has at most 100 items (Amazon DynamoDB API Reference, TransactWriteItems): per job a mark, an
# entry, and four budget windows; and the counts of four large batches.
MAX_JOBS_PER_TRANSACTION = 16
MAX_BATCHES_PER_TRANSACTION = 4
_MAX_ATTEMPTS = 6
_FIRST_BACKOFF_SECONDS = 0.05
_MAX_KNOWN_KEYS = 10_000


class UsageCounter:
    """Counts ended jobs. Counting a job twice changes nothing."""

    def __init__(self, store: UsageStore, clock: Clock, sleep: Callable[[float], None]) -> None:
        self._store = store
        self._clock = clock
        self._sleep = sleep
        self._known_keys: set[UsageKey] = set()

    def count(self, changes: Sequence[JobChange]) -> int | None:
        """Count the jobs that the changes end; return the index of the first change to retry, or None.

        A job that is restored from a backup was counted when it ended, and its mark may have expired.
        """
        ended = {
            (change.new.tenant, change.new.id): (index, EndedJob.from_job(change.new))
            for index, change in enumerate(changes)
            if change.new.is_terminal and change.old is not None and not change.old.is_terminal
        }
        uncounted: list[int] = []
        for group in _group(ended.values()):
            try:
                uncounted += self._count_group(group)
            except Exception:  # noqa: BLE001 - whatever went wrong, the stream must deliver these again
                logger.exception("usage not counted", first_job_id=group[0][1].id, jobs=len(group))
                uncounted += [index for index, _ in group]
                break
        return min(uncounted, default=None)

    def _count_group(self, group: Sequence[tuple[int, EndedJob]]) -> Sequence[int]:
        """Count the jobs together, or each alone if one cannot be counted; return the indexes of those."""
        try:
            self._count_together([self._place(job) for _, job in group])
        except PermanentError as error:
            if len(group) > 1:
                return [index for entry in group for index in self._count_group([entry])]
            ((index, job),) = group
            logger.error("job cannot be counted", job_id=job.id, tenant=job.tenant, reason=str(error))
            return [index]
        return []

    def _count_together(self, jobs: Sequence[EndedJob]) -> None:
        """Count the jobs together, without those that are counted already."""
        for attempt in range(_MAX_ATTEMPTS):
            try:
                self._store.count(jobs, now=self._clock.now())
            except ConflictError:
                counted = self._store.find_counted(jobs)
                jobs = [job for job in jobs if (job.tenant, job.id) not in counted]
                logger.info("usage counted before", jobs=len(counted))
            except RetryableError as error:
                # Creates with a budget, and other shards of the stream, write the same items.
                logger.info("usage will be counted again", reason=str(error))
                self._sleep(_FIRST_BACKOFF_SECONDS * 2**attempt)
            else:
                logger.info("usage counted", jobs=len(jobs))
                return
            if not jobs:
                return
        raise RetryableError("usage was not counted in time")

    def _place(self, job: EndedJob) -> EndedJob:
        """Return the job with the key of its entry, which is another one if its day has too many."""
        key = job.entry.key
        if key not in self._known_keys:
            if not self._store.register(key):
                return replace(job, entry=replace(job.entry, key=key.as_other()))
            if len(self._known_keys) >= _MAX_KNOWN_KEYS:
                self._known_keys.clear()
            self._known_keys.add(key)
        return job


def _group(ended: Iterable[tuple[int, EndedJob]]) -> Iterator[list[tuple[int, EndedJob]]]:
    """Yield the jobs in groups that one transaction holds."""
    group: list[tuple[int, EndedJob]] = []
    batches: set[tuple[str, str]] = set()
    for index, job in ended:
        batch = {(job.tenant, job.batch_id)} if job.batch_id is not None else set()
        if len(group) == MAX_JOBS_PER_TRANSACTION or len(batches | batch) > MAX_BATCHES_PER_TRANSACTION:
            yield group
            group, batches = [], set()
        group.append((index, job))
        batches |= batch
    if group:
        yield group
