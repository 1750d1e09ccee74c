"""The state machine: every pair of status and change, and any sequence of changes."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replicate_proxy.jobs.changes import (
    Accepted,
    AdoptionRevoked,
    CancelRequested,
    Change,
    CheckScheduled,
    Claimed,
    EndedByProxy,
    FilesAdded,
    Harvested,
    HarvestLeaseAcquired,
    HarvestRepeated,
    OutcomeUnknown,
    QueueTimeExceeded,
    Rejected,
    Released,
    Reported,
    ResubmitAllowed,
    RetryReserved,
    StaleChangeError,
    StreamOpened,
)
from replicate_proxy.jobs.model import (
    ACTIVE_STATUSES,
    TERMINAL_STATUSES,
    AttemptOutcome,
    Document,
    EndReason,
    Fallback,
    FallbackCause,
    Job,
    JobStatus,
    PastAttempt,
    Submission,
    SubmissionKind,
    TimelineStep,
    Waiting,
    WaitReason,
)
from replicate_proxy.jobs.state_machine import ALLOWED
from replicate_proxy.jobs.transitions import has_known_outcome
from tests.support.builders import make_job, make_report
from tests.support.clock import NOW
from tests.support.state_machine import LATER, TIMEOUTS, apply_change

S = JobStatus
BEFORE_HARVEST = ACTIVE_STATUSES - {S.HARVESTING}

# The status to which each change leads from each status; a change that is not listed is stale.
EXPECTED: dict[tuple[JobStatus, str], JobStatus] = {
    (S.QUEUED, "claimed"): S.SUBMITTING,
    (S.SUBMITTING, "released"): S.QUEUED,
    (S.SUBMITTING, "rejected"): S.FAILED,
    (S.SUBMITTING, "outcome_unknown"): S.SUBMIT_UNKNOWN,
    (S.SUBMITTING, "accepted"): S.SUBMITTED,
    (S.SUBMIT_UNKNOWN, "accepted"): S.SUBMITTED,
    (S.SUBMIT_UNKNOWN, "resubmit_allowed"): S.QUEUED,
    (S.HARVESTING, "harvest_lease_acquired"): S.HARVESTING,
    (S.HARVESTING, "harvested"): S.SUCCEEDED,
    **{(status, "cancel_requested"): status for status in BEFORE_HARVEST},
    (S.QUEUED, "cancel_requested"): S.CANCELED,
    **{(status, "queue_time_exceeded"): status for status in (S.QUEUED, S.SUBMITTED)},
    **{(status, "ended_by_proxy"): S.FAILED for status in BEFORE_HARVEST},
    **{(status, "check_scheduled"): status for status in ACTIVE_STATUSES},
    **{
        (status, "adoption_revoked"): S.SUBMIT_UNKNOWN for status in (S.SUBMITTED, S.PROCESSING, S.HARVESTING)
    },
    **{(status, "stream_opened"): status for status in (S.SUBMITTED, S.PROCESSING, S.HARVESTING)},
    **{(status, "starting"): S.SUBMITTED for status in (S.QUEUED, S.SUBMITTING, S.SUBMIT_UNKNOWN)},
    **{(status, "processing"): S.PROCESSING for status in BEFORE_HARVEST - {S.PROCESSING}},
    **{(status, "succeeded"): S.HARVESTING for status in BEFORE_HARVEST},
    **{(status, "failed"): S.FAILED for status in BEFORE_HARVEST},
    **{(status, "canceled"): S.CANCELED for status in BEFORE_HARVEST},
    **{(status, "aborted"): S.CANCELED for status in BEFORE_HARVEST},
    (S.FAILED, "retry_reserved"): S.FAILED,
    (S.CANCELED, "retry_reserved"): S.CANCELED,
    (S.SUCCEEDED, "harvest_repeated"): S.SUCCEEDED,
}
# Changes of ended jobs: they leave the status as it is.
AFTER_THE_END = {RetryReserved, HarvestRepeated, FilesAdded}


def make_past(outcome: AttemptOutcome) -> PastAttempt:
    return PastAttempt(attempt=1, outcome=outcome, replicate_id=None, error="", ended_at=NOW)


FALLBACK = Fallback(submission=Submission(kind=SubmissionKind.MODEL, owner="acme", name="second"))


def make_limited_job(status: JobStatus = S.QUEUED) -> Job:
    """Return a job whose queue time is over its limit."""
    return make_job(
        status,
        fallbacks=(FALLBACK,) * 3,
        fallback_causes=tuple(FallbackCause),
        fallback_after_seconds=30,
        fallback_due_at=NOW,
    )


def build_changes(job: Job) -> dict[str, Change]:
    """Return one change of each kind for the job's current attempt."""
    return {
        "claimed": Claimed(attempt=job.attempt, lease_until=LATER),
        "released": Released(attempt=job.attempt, retry_at=LATER),
        "rejected": Rejected(attempt=job.attempt, error="no"),
        "outcome_unknown": OutcomeUnknown(attempt=job.attempt),
        "accepted": Accepted(attempt=job.attempt, replicate_id="p1"),
        "resubmit_allowed": ResubmitAllowed(attempt=job.attempt),
        "harvest_lease_acquired": HarvestLeaseAcquired(lease_until=LATER, private_folder=""),
        "harvested": Harvested(output=Document(text="1")),
        "cancel_requested": CancelRequested(),
        "queue_time_exceeded": QueueTimeExceeded(attempt=job.attempt),
        "ended_by_proxy": EndedByProxy.decide(job, S.FAILED, EndReason.EXPIRED, "gave up"),
        "adoption_revoked": AdoptionRevoked(replicate_id=job.replicate_id or ""),
        "stream_opened": StreamOpened(
            attempt=job.attempt, replicate_id=job.replicate_id or "", stream_url="https://outputs.test/v1/s"
        ),
        "check_scheduled": CheckScheduled(expected_status=job.status, next_check_at=LATER),
        **{word: make_report(word) for word in ("starting", "processing", "succeeded", "failed")},
        **{word: make_report(word) for word in ("canceled", "aborted")},
        "retry_reserved": RetryReserved(job_id="retry"),
        "harvest_repeated": HarvestRepeated(lease_until=LATER),
        "files_added": FilesAdded(lease_until=LATER, output=Document(text="2"), files=None, is_complete=True),
    }


@pytest.mark.parametrize("status", JobStatus)
@pytest.mark.parametrize("name", build_changes(make_job()))
def test_change_leads_to_expected_status_or_is_stale(status: JobStatus, name: str) -> None:
    job = make_limited_job(status)
    change = build_changes(job)[name]

    expected = EXPECTED.get((status, name))
    if expected is None:
        with pytest.raises(StaleChangeError):
            apply_change(job, change)
        return
    changed = apply_change(job, change)

    assert changed.status is expected
    assert (changed.next_check_at is None) == changed.is_terminal


def test_allowed_statuses_cover_every_kind_of_change() -> None:
    job = make_job()

    assert {type(change) for change in build_changes(job).values()} == set(ALLOWED)
    assert {change for change, allowed in ALLOWED.items() if TERMINAL_STATUSES & allowed} == AFTER_THE_END
    assert all(ALLOWED[change] <= TERMINAL_STATUSES for change in AFTER_THE_END)


_attempts = st.integers(1, 3)
_reports = st.builds(
    make_report,
    st.sampled_from(["starting", "processing", "succeeded", "failed", "canceled", "aborted"]),
    attempt=_attempts,
    replicate_id=st.sampled_from(["p1", "p2", "p3"]),
    logs=st.sampled_from([None, Document(text='"log"')]),
    error=st.sampled_from([None, "bad input", "Prediction interrupted; please retry (code: PA)"]),
)
_times = st.integers(0, 900).map(lambda seconds: NOW + timedelta(seconds=seconds))
_changes = st.one_of(
    _reports,
    st.builds(Claimed, attempt=_attempts, lease_until=_times),
    st.builds(Released, attempt=_attempts, retry_at=_times, increments_backoff=st.booleans()),
    st.builds(Rejected, attempt=_attempts, error=st.just("no")),
    st.builds(OutcomeUnknown, attempt=_attempts),
    st.builds(ResubmitAllowed, attempt=_attempts),
    st.builds(Accepted, attempt=_attempts, replicate_id=st.sampled_from(["p1", "p2", "p3"])),
    st.builds(HarvestLeaseAcquired, lease_until=_times, private_folder=st.just("")),
    st.just(Harvested(output=Document(text="1"))),
    st.just(CancelRequested()),
    st.builds(QueueTimeExceeded, attempt=_attempts),
    st.builds(
        CheckScheduled,
        expected_status=st.sampled_from(sorted(ACTIVE_STATUSES)),
        next_check_at=_times,
        increments_backoff=st.booleans(),
        waiting=st.sampled_from(
            [
                None,
                Waiting(reason=WaitReason.RATE_LIMIT),
                Waiting(reason=WaitReason.CONCURRENCY_LIMIT, limit="model/acme/first"),
            ]
        ),
    ),
    st.builds(
        EndedByProxy,
        attempt=_attempts,
        expected_status=st.sampled_from(sorted(ACTIVE_STATUSES)),
        status=st.sampled_from([S.FAILED, S.CANCELED]),
        reason=st.just(EndReason.EXPIRED),
    ),
    st.builds(AdoptionRevoked, replicate_id=st.sampled_from(["p1", "p2", "p3"])),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(_changes, max_size=25))
def test_any_sequence_of_changes_keeps_job_consistent(changes: list[Change]) -> None:
    job = make_limited_job()
    attempts = {job.attempt}
    for steps, change in enumerate(changes):
        before = job
        with suppress(StaleChangeError):
            job = apply_change(job, change, NOW + timedelta(seconds=10 * steps))
        if before.is_terminal:
            assert job is before
        assert (job.next_check_at is None) == job.is_terminal
        assert job.revision == before.revision
        assert (job.lease_until is None) or job.status in {S.SUBMITTING, S.HARVESTING}
        assert TimelineStep.ACCEPTED in job.timeline
        assert (TimelineStep.FINISHED in job.timeline) == job.is_terminal
        assert all(time >= NOW for time in job.timeline.values())
        if job.status in {S.SUBMITTED, S.PROCESSING, S.HARVESTING}:
            assert job.replicate_id is not None
        if job.status is S.QUEUED:
            assert job.replicate_id is None
        if job.attempt != before.attempt and job.attempt not in attempts:
            assert job.attempt > max(attempts)
            assert before.replicate_id is None or is_end(change)
            assert before.cancel_requested_at is None
        attempts.add(job.attempt)
        if job.abandoned_at is not None:
            assert job.replicate_id is not None
        if job.submission != before.submission:
            outcomes = {past.outcome for past in job.past_attempts}
            assert not outcomes & {AttemptOutcome.UNKNOWN, AttemptOutcome.REPLACED}


def is_end(change: Change) -> bool:
    """Return whether Replicate says that the prediction has ended without a result."""
    return isinstance(change, Reported) and change.status in {"failed", "canceled", "aborted"}


class TestChangesAfterTheEnd:
    def test_second_retry_is_stale(self) -> None:
        job = apply_change(make_job(S.FAILED), RetryReserved(job_id="first"))

        assert job.retried_as == "first"
        with pytest.raises(StaleChangeError):
            apply_change(job, RetryReserved(job_id="second"))

    def test_files_are_added_under_the_lease(self) -> None:
        job = make_job(S.SUCCEEDED, end_reason=EndReason.HARVEST_GIVEN_UP, output=Document(text="1"))
        job = apply_change(job, HarvestRepeated(lease_until=LATER))
        with pytest.raises(StaleChangeError):
            apply_change(job, HarvestRepeated(lease_until=LATER + timedelta(seconds=1)))

        added = FilesAdded(lease_until=LATER, output=Document(text="2"), files=None, is_complete=True)
        changed = apply_change(job, added)

        assert (changed.output, changed.lease_until) == (Document(text="2"), None)
        assert changed.end_reason is EndReason.HARVESTED

    def test_files_of_an_earlier_lease_are_stale(self) -> None:
        job = apply_change(make_job(S.SUCCEEDED), HarvestRepeated(lease_until=LATER))

        with pytest.raises(StaleChangeError):
            apply_change(job, FilesAdded(lease_until=NOW, output=Document(), files=None, is_complete=True))


class TestKnownOutcome:
    @pytest.mark.parametrize(
        ("fields", "is_known"),
        [
            ({"end_reason": EndReason.EXPIRED}, True),
            ({"end_reason": EndReason.REPORTED, "replicate_id": "p1", "create_sent_at": NOW}, True),
            ({"end_reason": EndReason.REJECTED, "create_sent_at": NOW}, True),
            ({"end_reason": EndReason.UNRESOLVED, "create_sent_at": NOW}, False),
            ({"end_reason": EndReason.ACCOUNT_LOST, "replicate_id": "p1"}, False),
            # Canceled, and then no prediction was found for the create request.
            ({"end_reason": EndReason.CANCEL_REQUESTED, "create_sent_at": NOW}, False),
            ({"end_reason": EndReason.REPORTED, "past_attempts": (make_past(AttemptOutcome.FAILED),)}, True),
            (
                {"end_reason": EndReason.REPORTED, "past_attempts": (make_past(AttemptOutcome.UNKNOWN),)},
                False,
            ),
        ],
    )
    def test_outcome_is_known(self, fields: dict[str, Any], is_known: bool) -> None:
        assert has_known_outcome(make_job(S.FAILED, **fields)) is is_known

    def test_cancel_of_a_released_job_has_a_known_outcome(self) -> None:
        job = make_job(S.SUBMITTING, cancel_requested_at=NOW)

        assert has_known_outcome(apply_change(job, Released(attempt=1, retry_at=LATER)))


class TestCancelRequested:
    def test_released_job_ends_canceled(self) -> None:
        job = make_job(S.SUBMITTING, cancel_requested_at=NOW)

        assert apply_change(job, Released(attempt=1, retry_at=LATER)).status is S.CANCELED

    def test_job_of_unknown_outcome_is_not_resubmitted(self) -> None:
        job = make_job(S.SUBMIT_UNKNOWN, cancel_requested_at=NOW)

        assert apply_change(job, ResubmitAllowed(attempt=1)).status is S.CANCELED

    def test_running_job_is_checked_soon(self) -> None:
        job = apply_change(make_job(S.SUBMITTING), CancelRequested())
        job = apply_change(job, Accepted(attempt=1, replicate_id="p1"))

        assert job.next_check_at == NOW + timedelta(seconds=TIMEOUTS.cancel_seconds)

    def test_second_request_is_stale(self) -> None:
        with pytest.raises(StaleChangeError):
            apply_change(make_job(S.PROCESSING, cancel_requested_at=NOW), CancelRequested())


class TestHarvestLease:
    def test_second_harvester_is_excluded_until_lease_ends(self) -> None:
        job = apply_change(make_job(S.PROCESSING), make_report("succeeded", lease_until=LATER))
        until = LATER + timedelta(minutes=5)
        change = HarvestLeaseAcquired(lease_until=until, private_folder="private/a/b/")

        with pytest.raises(StaleChangeError):
            apply_change(job, change)
        acquired = apply_change(job, change, LATER)
        assert (acquired.lease_until, acquired.next_check_at) == (until, until)
        assert acquired.private_folder == "private/a/b/"

    def test_lease_ends_when_holder_schedules_check(self) -> None:
        job = make_job(S.HARVESTING, lease_until=LATER)

        check = CheckScheduled(expected_status=S.HARVESTING, next_check_at=LATER, lease_until=LATER)
        assert apply_change(job, check).lease_until is None


def test_check_of_job_that_moved_on_is_stale() -> None:
    check = CheckScheduled(expected_status=S.PROCESSING, next_check_at=LATER)

    with pytest.raises(StaleChangeError):
        apply_change(make_job(S.HARVESTING), check)


def test_end_is_stale_when_job_has_moved_on_since_it_was_decided() -> None:
    decided = EndedByProxy.decide(make_job(S.SUBMIT_UNKNOWN), S.FAILED, EndReason.UNRESOLVED)

    for status in (S.SUBMITTED, S.PROCESSING):
        with pytest.raises(StaleChangeError):
            apply_change(make_job(status), decided)


@pytest.mark.parametrize(
    "change",
    [
        Harvested(output=Document(text="1")),
        Harvested(output=Document(text="1"), lease_until=NOW),
        CheckScheduled(expected_status=S.HARVESTING, next_check_at=LATER),
        CheckScheduled(expected_status=S.HARVESTING, next_check_at=LATER, lease_until=NOW),
    ],
)
def test_only_holder_of_live_lease_changes_job_in_harvest(change: Harvested | CheckScheduled) -> None:
    leased = make_job(S.HARVESTING, lease_until=LATER)

    with pytest.raises(StaleChangeError):
        apply_change(leased, change)
    changed = apply_change(leased, replace(change, lease_until=LATER))

    assert changed.lease_until is None


def test_harvester_whose_lease_has_ended_still_finishes_when_nobody_followed() -> None:
    job = make_job(S.HARVESTING, lease_until=NOW - timedelta(seconds=1))

    finished = apply_change(job, Harvested(output=Document(text="1"), lease_until=job.lease_until))

    assert finished.status is S.SUCCEEDED


def test_revoked_adoption_leaves_nothing_of_the_prediction() -> None:
    job = make_job(
        S.HARVESTING,
        attempt=1,
        started_at=NOW,
        completed_at=NOW,
        logs=Document(text='"logs"'),
        metrics={"predict_time": 1},
        create_sent_at=NOW,
    )

    revoked = apply_change(job, AdoptionRevoked(replicate_id="p1"))

    assert (revoked.status, revoked.attempt, revoked.create_sent_at) == (S.SUBMIT_UNKNOWN, 1, NOW)
    assert (revoked.replicate_id, revoked.replicate_output, revoked.logs) == (None, None, None)
    assert (revoked.started_at, revoked.completed_at, revoked.metrics) == (None, None, {})
    with pytest.raises(StaleChangeError):
        apply_change(job, AdoptionRevoked(replicate_id="p2"))
