"""Deliberately broken variants of the code, which the simulation must catch.

Each one removes what keeps one guarantee: a condition, an order, a wait. A mutant that survives is a gap in
the simulation, not a strength of the code.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from unittest import mock

from replicate_proxy.aws import job_store
from replicate_proxy.aws.dynamodb import to_item
from replicate_proxy.aws.idempotency_store import DynamoIdempotencyStore
from replicate_proxy.aws.job_records import record_from_job
from replicate_proxy.errors import RetryableError
from replicate_proxy.jobs import state_machine
from replicate_proxy.jobs.changes import Claimed, EndedByProxy, HarvestLeaseAcquired, Reported
from replicate_proxy.jobs.model import JobStatus
from replicate_proxy.jobs.transitions import finish
from replicate_proxy.jobs.updater import JobUpdater
from replicate_proxy.replicate_api.errors import NotAcceptedError, OutcomeUnknownError
from replicate_proxy.replicate_api.predictions import UpstreamPredictionWriter
from replicate_proxy.services.check_outcome import CheckOutcome
from replicate_proxy.services.dispatch import Dispatcher
from replicate_proxy.services.ingest import JobFactory
from replicate_proxy.services.reconcile import Reconciler
from replicate_proxy.services.resolve_submission import SubmissionResolver, _SearchResult
from replicate_proxy.webhooks import deliverer
from tools.simulation.decisions import Rates
from tools.simulation.faults import FaultMix
from tools.simulation.run import RunSettings, run_seed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from replicate_proxy.jobs.model import Job

SETTINGS = RunSettings(jobs=25)


@dataclass(frozen=True)
class Mutant:
    """What is broken: attributes of modules or classes with their replacements.

    `mix` are the faults of its runs where those of a seed meet the broken part too rarely.
    """

    name: str
    guarantee: str
    patches: tuple[tuple[Any, str, Any], ...]
    mix: FaultMix | None = None

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Break the code for the block."""
        with ExitStack() as stack:
            for target, attribute, replacement in self.patches:
                stack.enter_context(mock.patch.object(target, attribute, replacement))
            yield


@dataclass(frozen=True, slots=True)
class Verdict:
    """The seed that caught a mutant, after `seeds` of them, and the guarantee that it broke; or none."""

    mutant: str
    seeds: int
    seed: int | None
    guarantee: str


def hunt(mutant: Mutant, *, first_seed: int = 1, max_seeds: int = 200) -> Verdict:
    """Run seeds until one catches the mutant."""
    with mutant.applied():
        for count in range(1, max_seeds + 1):
            seed = first_seed + count - 1
            violation = run_seed(seed, SETTINGS, mix=mutant.mix).violation
            if violation is not None:
                return Verdict(mutant.name, count, seed, violation.guarantee)
    return Verdict(mutant.name, max_seeds, None, "")


def hunt_by_number(number: int, *, max_seeds: int) -> Verdict:
    """Hunt a mutant in a worker process, to which the mutant itself cannot be sent."""
    return hunt(MUTANTS[number], max_seeds=max_seeds)


def _allow(change: type, *statuses: JobStatus) -> Mapping[Any, Any]:
    return {**state_machine.ALLOWED, change: state_machine.ALLOWED[change] | frozenset(statuses)}


def _save_without_condition(self: Any, job: Job) -> Job:
    saved = replace(job, revision=job.revision + 1)
    self._client.put_item(TableName=self._table, Item=to_item(record_from_job(saved)))
    return saved


def _create_as_if_not_accepted(self: Any, *arguments: Any, **options: Any) -> Any:
    try:
        return _create(self, *arguments, **options)
    except OutcomeUnknownError as error:
        raise NotAcceptedError("taken for not accepted") from error


def _postpone_by_failing(_self: Any, _job: Job, delay_seconds: float) -> None:
    raise RetryableError("not now", retry_after=delay_seconds)


def _apply_end_of_any_status(job: Job, change: Any, now: Any, _timeouts: Any) -> Job:
    return finish(job, change.status, now, error=change.error)


def _claim_without_revoking(self: Any, job: Job, replicate_id: str) -> None:
    self._store.claim_prediction(replicate_id, job.tenant, job.id, now=self._clock.now())


def _lease_without_condition(job: Job, change: Any, _now: Any, _timeouts: Any) -> Job:
    return replace(job, lease_until=change.lease_until, next_check_at=change.lease_until)


def _expire_soon(_self: Any, now: Any) -> int:
    return int((now + timedelta(minutes=20)).timestamp())


def _only_postpone(reconciler: Any, job: Job) -> CheckOutcome:
    reconciler._schedule_next_check(job, 600)  # noqa: SLF001 - what a mutant breaks is private
    return CheckOutcome.STILL_RUNNING


_create: Callable[..., Any] = UpstreamPredictionWriter.create
_transitions = state_machine._TRANSITIONS  # noqa: SLF001 - as above

MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "jobs are saved whatever their revision",
        "never paid twice",
        ((job_store.DynamoJobStore, "save", _save_without_condition),),
    ),
    Mutant(
        "a job can be claimed twice",
        "never paid twice",
        ((state_machine, "ALLOWED", _allow(Claimed, JobStatus.SUBMITTING)),),
    ),
    Mutant(
        "an unknown outcome counts as not accepted",
        "never paid twice",
        ((UpstreamPredictionWriter, "create", _create_as_if_not_accepted),),
    ),
    Mutant(
        "a job is sent again without a look at Replicate's list",
        "never paid twice",
        ((SubmissionResolver, "_search", lambda _self, _job: _SearchResult()),),
    ),
    Mutant(
        "equal requests of other tenants do not matter",
        "tenants are isolated",
        ((SubmissionResolver, "_find_rivals", lambda _self, _job, _prediction: []),),
    ),
    Mutant(
        "an adopted prediction is kept when it proves to be another job's",
        "a prediction is held by one job",
        ((JobUpdater, "claim_prediction", _claim_without_revoking),),
        mix=FaultMix(
            replicate_creates=Rates(reset=0.15, response_lost=0.3), webhooks=Rates(lost=0.2, very_late=0.7)
        ),
    ),
    Mutant(
        "a final job takes reports",
        "a final job never changes",
        ((state_machine, "ALLOWED", _allow(Reported, *JobStatus)),),
    ),
    Mutant(
        "a harvester does not respect the lease of another",
        "one harvester at a time",
        (
            (
                state_machine,
                "_TRANSITIONS",
                {**_transitions, HarvestLeaseAcquired: _lease_without_condition},
            ),
        ),
    ),
    Mutant(
        "a job is given up although it has moved on",
        "a paid result is not dropped",
        (
            (
                state_machine,
                "_TRANSITIONS",
                {**_transitions, EndedByProxy: _apply_end_of_any_status},
            ),
        ),
        mix=FaultMix(
            aws_reads=Rates(pause_after=0.15), aws_writes=Rates(pause_before=0.1), messages=Rates(twice=0.6)
        ),
    ),
    Mutant(
        "queued jobs whose message is lost are not found",
        "every job ends",
        ((Reconciler, "_check_queued", _only_postpone),),
    ),
    Mutant(
        "predictions whose webhook is lost are not polled",
        "every job ends",
        ((Reconciler, "_check_running", _only_postpone),),
    ),
    Mutant(
        "a waiting message is received again instead of being sent again",
        "waiting uses up no receives",
        ((Dispatcher, "_postpone", _postpone_by_failing),),
    ),
    Mutant(
        "records expire after minutes",
        "accepted is never lost",
        ((JobFactory, "calculate_expiry", _expire_soon),),
    ),
    Mutant(
        "idempotency keys are not shared",
        "one job per idempotency key",
        ((DynamoIdempotencyStore, "claim", lambda _self, record, **_: record),),
    ),
    Mutant(
        "a later event does not wait for an earlier one",
        "deliveries are in order",
        ((deliverer, "find_blocking", lambda *_arguments, **_options: []),),
    ),
)
