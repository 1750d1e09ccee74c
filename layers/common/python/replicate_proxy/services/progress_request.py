"""Ask for the progress of a running job when a client reads it.

Replicate reports that a prediction has ended, and nothing before that unless each of its steps were to come
as a webhook, at a price for every job. So progress, and the start, are read only while a caller reads: the
read of an unfinished job sends a command to the dispatcher, which holds Replicate's token, and the callers'
next reads show what it found. docs/decisions/0033-progress-is-read-on-request.md.
"""

from __future__ import annotations

from collections import OrderedDict
from datetime import timedelta
from typing import TYPE_CHECKING, Protocol

from replicate_proxy.contracts.commands import DispatchCommand, DispatchKind
from replicate_proxy.errors import RetryableError
from replicate_proxy.jobs.model import Job, JobStatus, TimelineStep
from replicate_proxy.observability import logger

if TYPE_CHECKING:
    from datetime import datetime

    from replicate_proxy.ports import Clock, CommandQueue


REFRESHED_STATUSES = frozenset({JobStatus.SUBMITTED, JobStatus.PROCESSING})
# The interval grows with the time that the job has run, so that a job of an hour is not read 1,200 times.
_MIN_SHARE_OF_RUN_TIME = 0.1
_MAX_REMEMBERED = 2000


class ProgressClaims(Protocol):
    """Makes sure that all execution environments together ask for the progress of a job once."""

    def claim(self, tenant: str, job_id: str, *, until: datetime) -> bool:
        """Return whether the job was not claimed until now. Raises RetryableError."""
        ...


class ProgressRequester:
    """Sends at most one command per job and interval, whoever reads the job and how often.

    `min_interval_seconds` 0 turns it off.
    """

    def __init__(
        self, claims: ProgressClaims, queue: CommandQueue, clock: Clock, *, min_interval_seconds: float
    ) -> None:
        self._claims = claims
        self._queue = queue
        self._clock = clock
        self._min_interval = timedelta(seconds=min_interval_seconds)
        self._asked_until: OrderedDict[tuple[str, str], datetime] = OrderedDict()

    def request_progress(self, job: Job) -> None:
        """Ask for the job's progress if it is due. Does not raise: the caller has a read to answer."""
        if not self._min_interval or job.status not in REFRESHED_STATUSES or job.replicate_id is None:
            return
        now = self._clock.now()
        step = TimelineStep.SUBMITTED if job.status is JobStatus.SUBMITTED else TimelineStep.STARTED
        running_since = job.started_at or job.timeline.get(step, now)
        interval = max(self._min_interval, (now - running_since) * _MIN_SHARE_OF_RUN_TIME)
        known_at = max(running_since, job.progress_at or running_since)
        key = job.tenant, job.id
        if now < known_at + interval or now < self._asked_until.get(key, now):
            return
        self._remember(key, now + interval)
        try:
            if self._claims.claim(job.tenant, job.id, until=now + interval):
                self._queue.send(DispatchCommand.for_job(DispatchKind.REFRESH, job))
        except RetryableError as error:
            logger.warning("progress not requested", job_id=job.id, reason=str(error))

    def _remember(self, key: tuple[str, str], until: datetime) -> None:
        self._asked_until[key] = until
        self._asked_until.move_to_end(key)
        if len(self._asked_until) > _MAX_REMEMBERED:
            self._asked_until.popitem(last=False)
