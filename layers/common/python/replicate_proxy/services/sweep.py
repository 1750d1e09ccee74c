"""The safety net: every job that is due gets looked at, whatever message, webhook or process was lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from replicate_proxy.errors import NotFoundError, ProxyError
from replicate_proxy.jobs.model import Job, JobStatus
from replicate_proxy.jobs.state_machine import StaleChangeError
from replicate_proxy.observability import Metric, count, logger

if TYPE_CHECKING:
    from replicate_proxy.ports import Clock, DueJob, JobStore


type Handler = Callable[[Job], str]

_BATCH = 100
_WORKERS = 8
_PAUSE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class SweepResult:
    """How many jobs were looked at, by what came of it; `finished` is False where the time ran out first."""

    outcomes: Mapping[str, int]
    finished: bool


class Sweep:
    """One pass takes the jobs overdue the longest, in batches, until none is left or its time is up.

    A look always moves the job's `due_at`, so a pass that is cut short is resumed by the next one where it
    stopped. `linger_seconds` keeps a pass waiting for jobs that fall due meanwhile, for a stack that lives by
    polling.
    """

    def __init__(
        self,
        *,
        store: JobStore,
        looks: Mapping[JobStatus, Handler],
        clock: Clock,
        sleep: Callable[[float], None],
        linger_seconds: float = 0,
    ) -> None:
        self._store = store
        self._looks = looks
        self._clock = clock
        self._sleep = sleep
        self._linger = timedelta(seconds=linger_seconds)

    def run(self, until: datetime) -> SweepResult:
        """Sweeps until `until` at the latest."""
        outcomes: Counter[str] = Counter()
        looked_at: set[DueJob] = set()
        repeated = 0
        lingers_until = min(self._clock.now() + self._linger, until)
        with ThreadPoolExecutor(_WORKERS) as workers:
            while (now := self._clock.now()) < until:
                # The index lags behind the table, and a look may fail: each due time is looked at once a
                # pass.
                limit = _BATCH + repeated
                found = self._store.due(before=now, limit=limit)
                due = [row for row in found if row not in looked_at]
                repeated = len(found) - len(due)
                looked_at.update(due)
                if due:
                    outcomes.update(workers.map(partial(self._look, until=until), due))
                elif len(found) < limit:
                    if now >= lingers_until:
                        break
                    self._sleep(_PAUSE_SECONDS)
        finished = self._clock.now() < until
        for outcome, number in outcomes.items():
            logger.info("swept", outcome=outcome, jobs=number)
        count(Metric.SWEEP_FOUND, sum(outcomes.values()))
        return SweepResult(dict(outcomes), finished)

    def _look(self, due: DueJob, *, until: datetime) -> str:
        try:
            return self._looked(due, until)
        except StaleChangeError:
            return "moved_meanwhile"
        except NotFoundError:
            return "gone"
        except ProxyError as error:
            logger.warning("look failed", job_id=due.id, reason=f"{type(error).__name__}: {error}")
            return "failed"
        except Exception:  # noqa: BLE001 - one sick job must not keep the others waiting
            logger.exception("look failed unexpectedly", job_id=due.id)
            return "failed"

    def _looked(self, due: DueJob, until: datetime) -> str:
        now = self._clock.now()
        if now >= until:
            return "left"
        job = self._store.get(due.tenant, due.id)
        if job is None or job.due_at is None or job.due_at > now:
            return "not_due"
        return self._looks[job.status](job)
