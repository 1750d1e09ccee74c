"""Operators who retry ended jobs, two at a time and again after crashes: each job gets one retry."""

from __future__ import annotations

import random
from collections import Counter
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING

from replicate_proxy.audit.model import AuditAction, build_job_target
from replicate_proxy.errors import ApiError
from replicate_proxy.jobs.model import JobStatus
from tools.simulation.audit_invariants import list_recorded
from tools.simulation.functions.operators import build_retries
from tools.simulation.world import NoAnswerError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from replicate_proxy.jobs.model import Job
    from tools.simulation.invariants import Invariants, JobKey
    from tools.simulation.world import World

_SEARCH_SECONDS = 60.0
_OPERATORS = 2
_ONE_RETRY = "a job has one retry"
# What a tenant's own request would be answered with as well.
_EXPECTED = frozenset(
    {
        HTTPStatus.PAYMENT_REQUIRED,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.CONFLICT,
        HTTPStatus.UNPROCESSABLE_ENTITY,
        HTTPStatus.SERVICE_UNAVAILABLE,
    }
)


class RetryOperators:
    """The operators of one world, who retry this share of the jobs that have failed or were canceled."""

    def __init__(self, world: World, invariants: Invariants, *, share: float) -> None:
        self._world = world
        self._invariants = invariants
        self._share = share
        self._answers: dict[JobKey, set[str]] = {}
        invariants.at_rest.append(self._check)

    def start(self) -> None:
        """Schedule the search for jobs to retry, until faults end."""
        self._world.scheduler.spawn("retries", self._search)

    def _search(self) -> None:
        scheduler = self._world.scheduler
        while scheduler.now < self._world.plan.quiet_from:
            scheduler.sleep(_SEARCH_SECONDS)
            for job in self._world.truth.read_jobs():
                key = (job.tenant, job.id)
                if job.status not in {JobStatus.FAILED, JobStatus.CANCELED} or key in self._answers:
                    continue
                self._answers[key] = set()
                # A retry of a retry would go on until the end.
                if job.retried_from is None and self._draw(job) < self._share:
                    for number in range(_OPERATORS):
                        scheduler.spawn(f"retry-{job.id}-{number}", partial(self._retry, key))

    def _draw(self, job: Job) -> float:
        return random.Random(f"{self._world.scheduler.seed}/{job.correlation_id}/retry").random()

    def _retry(self, key: JobKey) -> None:
        retries = build_retries(self._world.components)
        request = partial(self._world.call_admin, partial(retries.retry, *key))
        try:
            job = self._world.repeat(request, answers=(ApiError,)).job
        except ApiError as error:
            if error.status not in _EXPECTED:
                raise
        except NoAnswerError:
            pass
        else:
            self._answers[key].add(job.id)
            self._invariants.accept(job)

    def _check(self) -> None:
        jobs = {(job.tenant, job.id): job for job in self._world.truth.read_jobs()}
        retries = [job for job in jobs.values() if job.retried_from is not None]
        recorded = list_recorded(self._world.aws, AuditAction.RETRY_JOB)
        report_repeated_retries(retries, self._invariants)
        for retry in retries:
            old = jobs[retry.tenant, retry.retried_from or ""]
            # A bulk operation may have retried it first.
            answers = self._answers.get((old.tenant, old.id), set())
            if old.retried_as != retry.id or not answers <= {retry.id}:
                detail = f"{old.id} names {old.retried_as}, {retry.id} exists, the answers were {answers}"
                self._invariants.report(_ONE_RETRY, detail)
            if build_job_target(old.tenant, old.id) not in recorded:
                self._invariants.report("every change is recorded", f"the retry of {old.id}")


def report_repeated_retries(jobs: Iterable[Job], invariants: Invariants) -> None:
    """Report each job that more than one of these is a retry of."""
    for retried, number in Counter(job.retried_from for job in jobs).items():
        if retried is not None and number > 1:
            invariants.report(_ONE_RETRY, f"{retried} has {number}")
