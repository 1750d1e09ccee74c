"""The limit of the queue time: which waits count, and what happens to a job that has waited for too long."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from replicate_proxy.aws.job_records import job_from_record, record_from_job
from replicate_proxy.jobs.changes import (
    Accepted,
    AdoptionRevoked,
    CancelRequested,
    CheckScheduled,
    OutcomeUnknown,
    QueueTimeExceeded,
    Released,
    StaleChangeError,
)
from replicate_proxy.jobs.model import (
    AttemptOutcome,
    Cost,
    Fallback,
    FallbackCause,
    Job,
    JobStatus,
    Submission,
    SubmissionKind,
    Waiting,
    WaitReason,
)
from replicate_proxy.jobs.updater import JobUpdater
from tests.support.builders import make_job, make_report
from tests.support.clock import NOW, FakeClock
from tests.support.job_stores import InMemoryJobStore
from tests.support.state_machine import LATER, TIMEOUTS, apply_change

S = JobStatus
SECOND = Submission(kind=SubmissionKind.MODEL, owner="acme", name="second")
LIMIT_SECONDS = 30
DUE = NOW + timedelta(seconds=LIMIT_SECONDS)
ACCEPTED = Accepted(attempt=1, replicate_id="p1")
EXCEEDED = QueueTimeExceeded(attempt=1)
CANCELED = make_report("canceled", metrics={"predict_time": 2.5}, started_at=DUE)
MODEL_LIMIT = Waiting(reason=WaitReason.CONCURRENCY_LIMIT, limit="model/acme/first", max_concurrency=1)


def make_limited_job(status: JobStatus = S.QUEUED, **fields: Any) -> Job:
    defaults = {
        "fallbacks": (Fallback(submission=SECOND),),
        "fallback_causes": tuple(FallbackCause),
        "fallback_after_seconds": LIMIT_SECONDS,
    }
    return make_job(status, **{**defaults, **fields})


def wait(job: Job, waiting: Waiting, now: datetime = NOW) -> Job:
    """Hold a queued job back."""
    change = CheckScheduled(
        expected_status=S.QUEUED, next_check_at=NOW + timedelta(minutes=10), waiting=waiting
    )
    return apply_change(job, change, now)


def abandon() -> Job:
    """Return a job whose prediction is to be canceled for its wait."""
    return apply_change(apply_change(make_limited_job(S.SUBMITTING), ACCEPTED), EXCEEDED, DUE)


class TestWaits:
    def test_time_at_replicate_counts_and_is_checked(self) -> None:
        job = apply_change(make_limited_job(S.SUBMITTING), ACCEPTED)

        assert job.fallback_due_at == job.next_check_at == DUE

    def test_time_ends_when_the_prediction_runs(self) -> None:
        job = apply_change(
            apply_change(make_limited_job(S.SUBMITTING), ACCEPTED), make_report("processing"), LATER
        )

        assert job.fallback_due_at is None
        with pytest.raises(StaleChangeError):
            apply_change(job, EXCEEDED, LATER)

    def test_report_that_is_faster_than_the_acceptance_starts_the_time(self) -> None:
        assert apply_change(make_limited_job(S.SUBMITTING), make_report("starting")).fallback_due_at == DUE

    def test_wait_for_a_slot_of_the_model_counts_on_at_replicate(self) -> None:
        held = wait(make_limited_job(), MODEL_LIMIT)
        again = wait(held, MODEL_LIMIT, NOW + timedelta(seconds=20))
        accepted = apply_change(replace(again, status=S.SUBMITTING), ACCEPTED, NOW + timedelta(seconds=25))

        assert held.next_check_at == DUE
        assert again.fallback_due_at == accepted.fallback_due_at == DUE

    @pytest.mark.parametrize(
        "waiting",
        [
            Waiting(reason=WaitReason.OPERATOR_PAUSE),
            Waiting(reason=WaitReason.RATE_LIMIT),
            Waiting(reason=WaitReason.CIRCUIT_OPEN),
            Waiting(reason=WaitReason.CONCURRENCY_LIMIT, limit="tenant/acme"),
        ],
    )
    def test_waits_that_a_fallback_has_as_well_do_not_count(self, waiting: Waiting) -> None:
        job = wait(wait(make_limited_job(), MODEL_LIMIT), waiting)

        assert job.fallback_due_at is None
        with pytest.raises(StaleChangeError):
            apply_change(job, EXCEEDED, LATER)

    def test_request_that_was_not_accepted_starts_again(self) -> None:
        job = make_limited_job(S.SUBMITTING, fallback_due_at=DUE)

        assert apply_change(job, Released(attempt=1, retry_at=LATER)).fallback_due_at is None

    def test_prediction_that_was_found_by_likeness_has_no_limit(self) -> None:
        unknown = apply_change(make_limited_job(S.SUBMITTING, fallback_due_at=DUE), OutcomeUnknown(attempt=1))

        assert apply_change(unknown, ACCEPTED).fallback_due_at is None

    @pytest.mark.parametrize(
        "fields",
        [
            {"fallback_after_seconds": None},
            {"fallbacks": ()},
            {"fallback_causes": (FallbackCause.TARGET_GONE,)},
            {"is_streamed": True},
            {"cancel_requested_at": NOW},
        ],
    )
    def test_job_without_limit_or_fallback_is_not_checked_earlier(self, fields: dict[str, Any]) -> None:
        job = apply_change(make_limited_job(S.SUBMITTING, **fields), ACCEPTED)

        assert job.fallback_due_at is None
        with pytest.raises(StaleChangeError):
            apply_change(job, EXCEEDED, LATER)


class TestHeldJob:
    def test_goes_on_with_its_fallback(self) -> None:
        job = apply_change(wait(make_limited_job(), MODEL_LIMIT), EXCEEDED, DUE)

        assert (job.status, job.attempt, job.submission, job.waiting) == (S.QUEUED, 2, SECOND, None)
        (past,) = job.past_attempts
        assert (past.outcome, past.replicate_id) == (AttemptOutcome.NOT_SENT, None)
        assert past.error == "waited longer than 30 s for a slot of its model"
        assert job.has_fallen_back
        assert job.fallback_due_at is None

    def test_stays_until_the_time_is_over(self) -> None:
        with pytest.raises(StaleChangeError):
            apply_change(wait(make_limited_job(), MODEL_LIMIT), EXCEEDED, DUE - timedelta(seconds=1))


class TestSubmittedJob:
    def test_is_to_be_canceled_and_stays_as_it_is(self) -> None:
        job = abandon()

        assert (job.status, job.attempt, job.replicate_id, job.abandoned_at) == (S.SUBMITTED, 1, "p1", DUE)
        assert job.next_check_at == DUE + timedelta(seconds=TIMEOUTS.cancel_seconds)
        with pytest.raises(StaleChangeError):
            apply_change(job, EXCEEDED, LATER)

    @pytest.mark.parametrize("word", ["canceled", "aborted"])
    def test_goes_on_once_replicate_has_canceled_its_prediction(self, word: str) -> None:
        job = apply_change(abandon(), make_report(word), LATER)

        assert (job.status, job.attempt, job.submission) == (S.QUEUED, 2, SECOND)
        assert (job.abandoned_at, job.fallback_due_at, job.replicate_id) == (None, None, None)
        (past,) = job.past_attempts
        assert (past.outcome, past.replicate_id) == (AttemptOutcome.CANCELED, "p1")
        assert past.error == "waited longer than 30 s at Replicate"

    def test_goes_on_before_its_deadline(self) -> None:
        job = replace(abandon(), deadline=LATER + timedelta(seconds=1))

        assert apply_change(job, CANCELED, LATER).status is S.QUEUED

    def test_that_has_started_goes_on_when_the_cancel_ends_it(self) -> None:
        running = apply_change(abandon(), make_report("processing"), LATER)

        assert apply_change(running, CANCELED, LATER).status is S.QUEUED

    def test_that_has_started_keeps_its_result(self) -> None:
        job = apply_change(abandon(), make_report("succeeded"), LATER)

        assert (job.status, job.attempt) == (S.HARVESTING, 1)

    def test_ends_when_its_caller_cancels_it_too(self) -> None:
        job = apply_change(abandon(), CancelRequested(), LATER)

        assert apply_change(job, CANCELED, LATER).status is S.CANCELED

    def test_ends_when_its_deadline_has_passed(self) -> None:
        job = replace(abandon(), deadline=LATER)

        assert apply_change(job, make_report("aborted"), LATER).status is S.CANCELED

    def test_is_not_to_be_canceled_any_more_when_the_prediction_is_another_jobs(self) -> None:
        job = apply_change(abandon(), AdoptionRevoked(replicate_id="p1"), LATER)

        assert (job.abandoned_at, job.fallback_due_at) == (None, None)

    def test_is_read_as_it_was_stored(self) -> None:
        fallen_back = apply_change(abandon(), CANCELED, LATER)
        past = replace(fallen_back.past_attempts[0], cost=Cost(micro_usd=7, basis="7 runs"))
        for job in (abandon(), replace(fallen_back, past_attempts=(past,))):
            record = {name: value for name, value in record_from_job(job).items() if value is not None}

            assert job_from_record(record) == job


def test_canceled_prediction_is_saved_with_what_it_cost() -> None:
    store = InMemoryJobStore()
    asked: list[Job] = []

    def calculate_cost(job: Job, _ended_from: JobStatus) -> Cost:
        asked.append(job)
        return Cost(micro_usd=2500, basis="2.5 seconds")

    updater = JobUpdater(store, FakeClock(), TIMEOUTS, calculate_cost=calculate_cost)
    job = updater.apply(store.put(abandon()), CANCELED)

    (ended,) = asked
    assert (ended.status, ended.replicate_status) == (S.CANCELED, "canceled")
    assert (ended.metrics, ended.submission) == ({"predict_time": 2.5}, abandon().submission)
    assert job.past_attempts[0].cost == Cost(micro_usd=2500, basis="2.5 seconds")
    assert job.cost is None
