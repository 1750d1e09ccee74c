"""Check every overdue job, so that no job depends on a single message, webhook or process.

Each job has the time of its next check, which every change of the job postpones. A job whose check is due has
not changed for too long. `services.reconcile` has the checks; this module finds the jobs and runs the checks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Any

from replicate_proxy.due_jobs import DueJobReader
from replicate_proxy.errors import NotFoundError, ProxyError
from replicate_proxy.jobs.changes import StaleChangeError
from replicate_proxy.jobs.model import Job, JobStatus
from replicate_proxy.observability import Metric, count, count_failure, logger
from replicate_proxy.services.check_outcome import CheckOutcome

if TYPE_CHECKING:
    from replicate_proxy.ports import Clock, DueJob, JobStore


type CheckHandler = Callable[[Job], CheckOutcome]

_WORKERS = 8
_POLL_INTERVAL_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class SweepResult:
    """How many jobs were checked, by outcome; `finished` is False if the time ran out first."""

    outcomes: Mapping[CheckOutcome, int]
    finished: bool

    def describe(self) -> dict[str, Any]:
        """Return what the function logs and returns."""
        jobs = {outcome.value: count for outcome, count in self.outcomes.items()}
        return {"jobs": jobs, "finished": self.finished}


class Sweeper:
    """Checks due jobs, the longest overdue first, until none is left or the time is up.

    Every check postpones the job's next check, so the next sweep continues where an interrupted one stopped.
    A check that ends the process postpones nothing: so every other check is made at a place of the page that
    moves from minute to minute, and such a check does not always keep the same jobs from theirs.

    With `duration_seconds`, a sweep lasts that long and includes the jobs that become due meanwhile, for a
    stack that polls Replicate because it receives no webhooks.
    """

    def __init__(
        self,
        *,
        store: JobStore,
        handlers: Mapping[JobStatus, CheckHandler],
        clock: Clock,
        sleep: Callable[[float], None],
        duration_seconds: float = 0,
    ) -> None:
        self._store = store
        self._handlers = handlers
        self._clock = clock
        self._sleep = sleep
        self._duration = timedelta(seconds=duration_seconds)

    def sweep_jobs(self, deadline: datetime) -> SweepResult:
        """Check all due jobs, until `deadline` at the latest."""
        outcomes: Counter[CheckOutcome] = Counter()
        reader = DueJobReader(self._store.list_due_jobs)
        min_end = min(self._clock.now() + self._duration, deadline)
        with ThreadPoolExecutor(_WORKERS) as workers:
            while (now := self._clock.now()) < deadline:
                if due_jobs := _order(reader.read_page(now), now):
                    outcomes.update(workers.map(partial(self._check, deadline=deadline), due_jobs))
                elif reader.is_at_end:
                    if now >= min_end:
                        break
                    self._sleep(_POLL_INTERVAL_SECONDS)
        if outcomes:  # a metric costs $0.30 for a month in which it is always emitted
            count(Metric.JOBS_CHECKED, outcomes.total())
        return SweepResult(dict(outcomes), finished=self._clock.now() < deadline)

    def _check(self, due_job: DueJob, *, deadline: datetime) -> CheckOutcome:
        try:
            return self._run_handler(due_job, deadline)
        except StaleChangeError:
            return CheckOutcome.CHANGED_CONCURRENTLY
        except NotFoundError:
            return CheckOutcome.NOT_FOUND
        except ProxyError as error:
            logger.warning("check failed", job_id=due_job.id, reason=f"{type(error).__name__}: {error}")
            count_failure(Metric.CHECK_FAILED, error)
            return CheckOutcome.CHECK_FAILED
        except Exception as error:  # noqa: BLE001 - a bug in one check must not stop the others
            logger.exception("check failed unexpectedly", job_id=due_job.id)
            count_failure(Metric.CHECK_FAILED, error)
            return CheckOutcome.CHECK_FAILED

    def _run_handler(self, due_job: DueJob, deadline: datetime) -> CheckOutcome:
        now = self._clock.now()
        if now >= deadline:
            return CheckOutcome.OUT_OF_TIME
        job = self._store.get(due_job.tenant, due_job.id)
        if job is None or job.next_check_at is None or job.next_check_at > now:
            return CheckOutcome.NOT_DUE
        outcome = self._handlers[job.status](job)
        logger.info(
            "job checked",
            job_id=job.id,
            tenant=job.tenant,
            correlation_id=job.correlation_id,
            status=job.status.value,
            outcome=outcome.value,
        )
        return outcome


def _order(due_jobs: Sequence[DueJob], now: datetime) -> Sequence[DueJob]:
    """Return the jobs in the order in which to check them: in turn the longest overdue, and one further on.

    The place further on moves by as many as are checked at a time.
    """
    if not due_jobs:
        return due_jobs
    start = int(now.timestamp() // 60) * _WORKERS % len(due_jobs)
    rotated = [*due_jobs[start:], *due_jobs[:start]]
    return list(dict.fromkeys(chain.from_iterable(zip(due_jobs, rotated, strict=True))))
