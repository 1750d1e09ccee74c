"""The state machine: every pair of status and change, and any sequence of changes."""

from __future__ import annotations

import itertools
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replicate_proxy.jobs.changes import (
    Accepted,
    CancelRequested,
    Change,
    CheckScheduled,
    Claimed,
    EndedByProxy,
    Harvested,
    HarvestLeaseAcquired,
    OutcomeUnknown,
    Rejected,
    Released,
    ResubmitAllowed,
    StaleChangeError,
)
from replicate_proxy.jobs.model import (
    ACTIVE_STATUSES,
    TERMINAL_STATUSES,
    Document,
    Job,
    JobStatus,
    TimelineStep,
)
from replicate_proxy.jobs.state_machine import ALLOWED, apply
from replicate_proxy.jobs.timeouts import JobTimeouts
from tests.support.builders import make_job, make_report
from tests.support.clock import NOW

if TYPE_CHECKING:
    from collections.abc import Sequence

S = JobStatus
POLICY = JobTimeouts()
LATER = NOW + timedelta(seconds=60)


def step(job: Job, change: Change, now: datetime = NOW, policy: JobTimeouts = POLICY) -> Job:
    return apply(job, change, now=now, timeouts=policy)


def run(job: Job, changes: Sequence[Change], policy: JobTimeouts = POLICY) -> Job:
    """The job after all changes, dropped ones skipped."""
    for seconds, change in enumerate(changes, start=1):
        with suppress(StaleChangeError):
            job = step(job, change, NOW + timedelta(seconds=seconds), policy)
    return job


# From each status, where each change leads; what is not listed is dropped.
TABLE: dict[tuple[JobStatus, str], JobStatus] = {
    (S.QUEUED, "claimed"): S.SUBMITTING,
    (S.SUBMITTING, "released"): S.QUEUED,
    (S.SUBMITTING, "rejected"): S.FAILED,
    (S.SUBMITTING, "unknown"): S.SUBMIT_UNKNOWN,
    (S.SUBMITTING, "accepted"): S.SUBMITTED,
    (S.SUBMIT_UNKNOWN, "accepted"): S.SUBMITTED,
    (S.SUBMIT_UNKNOWN, "resent"): S.QUEUED,
    (S.HARVESTING, "taken"): S.HARVESTING,
    (S.HARVESTING, "harvested"): S.SUCCEEDED,
    (S.QUEUED, "cancel"): S.CANCELED,
    **{(status, "cancel"): status for status in (S.SUBMITTING, S.SUBMIT_UNKNOWN, S.SUBMITTED, S.PROCESSING)},
    **{(status, "gave_up"): S.FAILED for status in ACTIVE_STATUSES - {S.HARVESTING}},
    **{(status, "looked"): status for status in ACTIVE_STATUSES},
    **{(status, "starting"): S.SUBMITTED for status in (S.QUEUED, S.SUBMITTING, S.SUBMIT_UNKNOWN)},
    **{(status, "processing"): S.PROCESSING for status in ACTIVE_STATUSES - {S.HARVESTING, S.PROCESSING}},
    **{(status, "succeeded"): S.HARVESTING for status in ACTIVE_STATUSES - {S.HARVESTING}},
    **{(status, "failed"): S.FAILED for status in ACTIVE_STATUSES - {S.HARVESTING}},
    **{(status, "canceled"): S.CANCELED for status in ACTIVE_STATUSES - {S.HARVESTING}},
    **{(status, "aborted"): S.CANCELED for status in ACTIVE_STATUSES - {S.HARVESTING}},
}


def changes_for(job: Job) -> dict[str, Change]:
    return {
        "claimed": Claimed(attempt=job.attempt, lease_until=LATER),
        "released": Released(attempt=job.attempt, retry_at=LATER),
        "rejected": Rejected(attempt=job.attempt, error="no"),
        "unknown": OutcomeUnknown(attempt=job.attempt),
        "accepted": Accepted(attempt=job.attempt, replicate_id="p1"),
        "resent": ResubmitAllowed(attempt=job.attempt),
        "taken": HarvestLeaseAcquired(lease_until=LATER),
        "harvested": Harvested(Document(text="1")),
        "cancel": CancelRequested(),
        "gave_up": EndedByProxy(S.FAILED, "gave up"),
        "looked": CheckScheduled(expected_status=job.status, next_check_at=LATER),
        **{word: make_report(word) for word in ("starting", "processing", "succeeded", "failed")},
        **{word: make_report(word) for word in ("canceled", "aborted")},
    }


@pytest.mark.parametrize("status", JobStatus)
@pytest.mark.parametrize("name", changes_for(make_job()))
def test_every_change_finds_every_status(status: JobStatus, name: str) -> None:
    job = make_job(status)
    change = changes_for(job)[name]

    expected = TABLE.get((status, name))
    if expected is None:
        with pytest.raises(StaleChangeError):
            step(job, change)
        return
    after = step(job, change)

    assert after.status is expected
    assert (after.next_check_at is None) == after.is_terminal


def test_the_table_of_allowed_changes_knows_every_kind() -> None:
    job = make_job()
    assert {type(change) for change in changes_for(job).values()} == set(ALLOWED)
    assert not any(TERMINAL_STATUSES & allowed for allowed in ALLOWED.values())


STORY = (make_report("starting"), make_report("processing"), make_report("succeeded"))


@pytest.mark.parametrize("status", [S.SUBMITTING, S.SUBMIT_UNKNOWN, S.SUBMITTED, S.PROCESSING])
@pytest.mark.parametrize("order", list(itertools.permutations([*STORY, STORY[2]])))
def test_any_order_of_webhooks_leads_to_the_same_end(status: JobStatus, order: tuple[Change, ...]) -> None:
    # Given a job whose webhooks arrive in any order, the last one twice
    job = run(make_job(status), order)

    # Then it is harvested, whatever came before or after
    assert job.status is S.HARVESTING
    assert job.replicate_id == "p1"
    assert job.replicate_output == STORY[2].output
    done = run(job, [Harvested(Document(text='"ours"'), None), *order])
    assert done.status is S.SUCCEEDED
    assert done.output == Document(text='"ours"')


_attempts = st.integers(1, 3)
_reports = st.builds(
    make_report,
    st.sampled_from(["starting", "processing", "succeeded", "failed", "canceled", "aborted"]),
    attempt=_attempts,
    replicate_id=st.sampled_from(["p1", "p2", "p3"]),
    logs=st.sampled_from([None, Document(text='"log"')]),
    error=st.sampled_from([None, "bad input", "Prediction interrupted; please retry (code: PA)"]),
)
_moments = st.integers(0, 900).map(lambda seconds: NOW + timedelta(seconds=seconds))
_changes = st.one_of(
    _reports,
    st.builds(Claimed, attempt=_attempts, lease_until=_moments),
    st.builds(Released, attempt=_attempts, retry_at=_moments, increments_backoff=st.booleans()),
    st.builds(Rejected, attempt=_attempts, error=st.just("no")),
    st.builds(OutcomeUnknown, attempt=_attempts),
    st.builds(ResubmitAllowed, attempt=_attempts),
    st.builds(Accepted, attempt=_attempts, replicate_id=st.sampled_from(["p1", "p2", "p3"])),
    st.builds(HarvestLeaseAcquired, lease_until=_moments),
    st.just(Harvested(Document(text="1"))),
    st.just(CancelRequested()),
    st.builds(
        CheckScheduled,
        expected_status=st.sampled_from(sorted(ACTIVE_STATUSES)),
        next_check_at=_moments,
        increments_backoff=st.booleans(),
    ),
    st.builds(EndedByProxy, st.sampled_from([S.FAILED, S.CANCELED])),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(_changes, max_size=25))
def test_whatever_happens_the_job_stays_sane(changes: list[Change]) -> None:
    job = make_job()
    numbers = {job.attempt}
    for seconds, change in enumerate(changes):
        before = job
        with suppress(StaleChangeError):
            job = step(job, change, NOW + timedelta(seconds=seconds))
        if before.is_terminal:
            assert job is before
        assert (job.next_check_at is None) == job.is_terminal
        assert job.revision == before.revision
        assert (job.lease_until is None) or job.status in {S.SUBMITTING, S.HARVESTING}
        assert set(before.timeline) - set(job.timeline) <= {
            TimelineStep.CLAIMED,
            TimelineStep.SUBMITTED,
            TimelineStep.STARTED,
        }
        assert (TimelineStep.FINISHED in job.timeline) == job.is_terminal
        assert all(time >= NOW for time in job.timeline.values())
        if job.status in {S.SUBMITTED, S.PROCESSING, S.HARVESTING}:
            assert job.replicate_id is not None
        if job.status is S.QUEUED:
            assert job.replicate_id is None
        if job.attempt != before.attempt and job.attempt not in numbers:
            assert job.attempt > max(numbers)
        numbers.add(job.attempt)


def test_a_transient_failure_gets_one_fresh_attempt_and_no_second() -> None:
    transient = "Director: unexpected error handling prediction (E9828)"

    again = step(
        make_job(S.PROCESSING, started_at=NOW, logs=Document(text='"old"')),
        make_report("failed", error=transient),
    )
    assert (again.status, again.attempt, again.replicate_id) == (S.QUEUED, 2, None)
    assert (again.started_at, again.logs) == (None, None)
    assert again.past_attempts[0].replicate_id == "p1"

    running = replace(again, status=S.PROCESSING, replicate_id="p2")
    ended = step(running, make_report("failed", attempt=2, replicate_id="p2", error=transient))
    assert (ended.status, ended.error) == (S.FAILED, transient)


def test_a_repeated_report_of_the_failed_attempt_does_not_touch_the_fresh_one() -> None:
    failed = make_report("failed", error="(code: PA)")
    fresh = step(make_job(S.PROCESSING), failed)
    for job in (fresh, step(fresh, Claimed(attempt=2, lease_until=LATER))):
        with pytest.raises(StaleChangeError):
            step(job, failed)


def test_nothing_starts_anew_once_the_caller_wants_it_stopped() -> None:
    job = make_job(S.PROCESSING, cancel_requested_at=NOW)
    assert step(job, make_report("failed", error="(code: PA)")).status is S.FAILED


@pytest.mark.parametrize("error", ["CUDA out of memory (E1001)", "", "E98281", "code: PAST"])
def test_other_failures_are_final(error: str) -> None:
    assert step(make_job(S.PROCESSING), make_report("failed", error=error)).status is S.FAILED


class TestAnAttemptGivenUpAsUnknown:
    """Sent, no answer, no trace, sent again: and then the first one reports after all."""

    def resent(self) -> Job:
        return step(make_job(S.SUBMIT_UNKNOWN), ResubmitAllowed(attempt=1))

    def test_is_adopted_while_the_next_one_waits(self) -> None:
        job = step(self.resent(), make_report("processing", attempt=1))
        assert (job.status, job.attempt, job.replicate_id) == (S.PROCESSING, 1, "p1")
        assert job.past_attempts == ()

    @pytest.mark.parametrize("then", [[], [OutcomeUnknown(attempt=2)]])
    def test_is_adopted_while_the_next_one_is_on_its_way(self, then: list[Change]) -> None:
        job = run(self.resent(), [Claimed(attempt=2, lease_until=LATER), *then])
        job = step(job, make_report("succeeded", attempt=1))
        assert (job.status, job.attempt, job.replicate_id) == (S.HARVESTING, 1, "p1")
        assert [past.attempt for past in job.past_attempts] == [2]

    def test_leaves_its_number_to_nobody(self) -> None:
        job = run(
            self.resent(), [Claimed(attempt=2, lease_until=LATER), make_report("processing", attempt=1)]
        )
        job = step(job, make_report("failed", attempt=1, error="(code: PA)"))
        assert job.attempt == 3
        with pytest.raises(StaleChangeError):
            step(job, make_report("canceled", attempt=2, replicate_id="p2"))

    def test_is_dropped_once_the_next_one_is_known(self) -> None:
        job = run(
            self.resent(), [Claimed(attempt=2, lease_until=LATER), Accepted(attempt=2, replicate_id="p2")]
        )
        with pytest.raises(StaleChangeError):
            step(job, make_report("succeeded", attempt=1))

    def test_late_news_of_its_dispatcher_is_dropped(self) -> None:
        job = step(self.resent(), Claimed(attempt=2, lease_until=LATER))
        for change in (
            Accepted(attempt=1, replicate_id="p1"),
            Released(attempt=1, retry_at=LATER),
            Rejected(attempt=1, error="no"),
            OutcomeUnknown(attempt=1),
        ):
            with pytest.raises(StaleChangeError):
                step(job, change)


def test_a_report_proves_a_create_that_was_thought_refused() -> None:
    job = step(make_job(S.QUEUED), make_report("processing"))
    assert (job.status, job.replicate_id) == (S.PROCESSING, "p1")


def test_a_report_by_poll_is_known_by_the_predictions_id() -> None:
    job = make_job(S.SUBMITTED, attempt=2)
    assert step(job, make_report("processing", attempt=1)).status is S.PROCESSING
    with pytest.raises(StaleChangeError):
        step(job, make_report("processing", attempt=2, replicate_id="p9"))


class TestCanceling:
    def test_a_released_job_ends(self) -> None:
        job = make_job(S.SUBMITTING, cancel_requested_at=NOW)
        assert step(job, Released(attempt=1, retry_at=LATER)).status is S.CANCELED

    def test_an_unknown_one_is_not_sent_again(self) -> None:
        job = make_job(S.SUBMIT_UNKNOWN, cancel_requested_at=NOW)
        assert step(job, ResubmitAllowed(attempt=1)).status is S.CANCELED

    def test_a_running_one_falls_due_soon(self) -> None:
        job = step(make_job(S.SUBMITTING), CancelRequested())
        job = step(job, Accepted(attempt=1, replicate_id="p1"))
        assert job.next_check_at == NOW + timedelta(seconds=POLICY.cancel_seconds)

    def test_asking_twice_changes_nothing(self) -> None:
        with pytest.raises(StaleChangeError):
            step(make_job(S.PROCESSING, cancel_requested_at=NOW), CancelRequested())


class TestTheLeaseOfAHarvest:
    def test_keeps_a_second_harvester_out_until_it_ends(self) -> None:
        job = step(make_job(S.PROCESSING), make_report("succeeded", lease_until=LATER))
        with pytest.raises(StaleChangeError):
            step(job, HarvestLeaseAcquired(lease_until=LATER))
        assert step(job, HarvestLeaseAcquired(lease_until=LATER), LATER).lease_until == LATER

    def test_ends_with_its_holders_look(self) -> None:
        job = make_job(S.HARVESTING, lease_until=LATER)
        assert (
            step(job, CheckScheduled(expected_status=S.HARVESTING, next_check_at=LATER)).lease_until is None
        )


def test_a_look_at_what_has_moved_on_is_dropped() -> None:
    with pytest.raises(StaleChangeError):
        step(make_job(S.HARVESTING), CheckScheduled(expected_status=S.PROCESSING, next_check_at=LATER))


def test_progress_with_logs_is_kept() -> None:
    logs = Document(text='"10 %"')
    job = step(make_job(S.PROCESSING), make_report("processing", logs=logs))
    assert (job.status, job.logs) == (S.PROCESSING, logs)
