"""Broken variants of how a job moves on: its reports, leases, checks, records and streams."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from replicate_proxy.jobs import reports, state_machine, transitions
from replicate_proxy.jobs.changes import (
    CheckScheduled,
    Claimed,
    EndedByProxy,
    HarvestLeaseAcquired,
    QueueTimeExceeded,
    Reported,
)
from replicate_proxy.jobs.model import AttemptOutcome, JobStatus
from replicate_proxy.jobs.timeouts import JobTimeouts
from replicate_proxy.jobs.transitions import finish, forget_prediction
from replicate_proxy.services import harvest
from replicate_proxy.services.check_outcome import CheckOutcome
from replicate_proxy.services.ingest import JobFactory
from replicate_proxy.services.reconcile import Reconciler
from tools.simulation.decisions import Rates
from tools.simulation.faults import FaultMix
from tools.simulation.mutants.mutant import WITH_QUEUE_LIMITS, Mutant

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from replicate_proxy.jobs.model import Job


def _allow(change: type, *statuses: JobStatus) -> Mapping[Any, Any]:
    return {**state_machine.ALLOWED, change: state_machine.ALLOWED[change] | frozenset(statuses)}


def _start_fallback_at_once(job: Job, _change: Any, now: datetime, timeouts: Any) -> Job:
    return transitions.start_fallback(job, now, timeouts, outcome=AttemptOutcome.FAILED, reason="slow")


def _apply_end_of_any_status(job: Job, change: Any, now: Any, _timeouts: Any) -> Job:
    return finish(job, change.status, now, error=change.error)


def _lease_without_condition(job: Job, change: Any, _now: Any, _timeouts: Any) -> Job:
    return replace(job, lease_until=change.lease_until, next_check_at=change.lease_until)


def _schedule_check_of_any_status(job: Job, change: Any, _now: Any, _timeouts: Any) -> Job:
    return replace(job, next_check_at=change.next_check_at, lease_until=None)


def _poll_after_hours(_self: Any, now: Any, _checks: int) -> Any:
    return now + timedelta(hours=2)


def _expire_soon(_self: Any, now: Any) -> int:
    return int((now + timedelta(minutes=20)).timestamp())


def _forget_all_but_the_stream(job: Job) -> Job:
    return replace(forget_prediction(job), stream_url=job.stream_url)


def _end_without_output(job: Job, change: Reported, now: datetime) -> Job:
    return replace(job, completed_at=change.completed_at or now)


def _only_postpone(reconciler: Any, job: Job) -> CheckOutcome:
    reconciler._schedule_next_check(job, 600)  # noqa: SLF001 - what a mutant breaks is private
    return CheckOutcome.STILL_RUNNING


_REPEATED_AND_SLOW = FaultMix(
    messages=Rates(twice=0.5), aws_reads=Rates(pause_after=0.1), aws_writes=Rates(pause_after=0.1)
)
_transitions = state_machine._TRANSITIONS  # noqa: SLF001 - as above

JOB_MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "a job can be claimed twice",
        "never paid twice",
        ((state_machine, "ALLOWED", _allow(Claimed, JobStatus.SUBMITTING)),),
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
        mix=_REPEATED_AND_SLOW,
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
        scenario="deadline",
    ),
    Mutant(
        "a check that was decided earlier ends the lease of a harvester",
        "one harvester at a time",
        (
            (state_machine, "_is_leased_to_another", lambda _job, _lease_until, _now: False),
            (
                state_machine,
                "_TRANSITIONS",
                {**_transitions, CheckScheduled: _schedule_check_of_any_status},
            ),
        ),
        scenario="sweep-webhook",
    ),
    Mutant(
        "a report about an earlier attempt counts for the present one",
        "state only moves forward",
        ((reports, "_match_attempt", lambda job, _change, _now: job),),
    ),
    Mutant(
        "the lease of a harvester outlives it",
        "every job ends",
        ((harvest, "truncate_to_milliseconds", lambda deadline: deadline + timedelta(days=30)),),
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
        "a running prediction is polled after hours",
        "a paid result is not dropped",
        ((JobTimeouts, "calculate_next_check", _poll_after_hours),),
    ),
    Mutant(
        "records expire after minutes",
        "accepted is never lost",
        ((JobFactory, "calculate_expiry", _expire_soon),),
    ),
    Mutant(
        "a new attempt keeps the stream of the one before",
        "a stream is its own job's",
        ((transitions, "forget_prediction", _forget_all_but_the_stream),),
    ),
    Mutant(
        "what a failed or canceled stream has shown is not recorded",
        "the record is what was streamed",
        ((reports, "_keep_output", _end_without_output),),
    ),
    Mutant(
        "a prediction whose text was shown is run again",
        "shown text is not continued by another attempt",
        ((reports, "_may_be_read", lambda job: job.is_streamed),),
    ),
    Mutant(
        "a fallback does not wait until the earlier prediction is canceled",
        "never paid twice",
        (
            (
                state_machine,
                "_TRANSITIONS",
                {**_transitions, QueueTimeExceeded: _start_fallback_at_once},
            ),
        ),
        settings=WITH_QUEUE_LIMITS,
    ),
)
