"""Reports from Replicate: order, matching attempts, transient failures."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import timedelta

import pytest

from replicate_proxy.jobs.changes import (
    Accepted,
    AdoptionRevoked,
    Change,
    Claimed,
    Harvested,
    OutcomeUnknown,
    Rejected,
    Released,
    ResubmitAllowed,
    StaleChangeError,
)
from replicate_proxy.jobs.model import (
    Document,
    Job,
    JobStatus,
    ReportChannel,
    TimelineStep,
    Waiting,
    WaitReason,
)
from tests.support.builders import make_job, make_report
from tests.support.clock import NOW
from tests.support.state_machine import LATER, apply_change, apply_changes

S = JobStatus
STARTING, PROCESSING, SUCCEEDED = (make_report(word) for word in ("starting", "processing", "succeeded"))


@pytest.mark.parametrize("status", [S.SUBMITTING, S.SUBMIT_UNKNOWN, S.SUBMITTED, S.PROCESSING])
@pytest.mark.parametrize("order", list(itertools.permutations([STARTING, PROCESSING, SUCCEEDED, SUCCEEDED])))
def test_reports_in_any_order_lead_to_same_end(status: JobStatus, order: tuple[Change, ...]) -> None:
    # Given a job whose reports arrive in any order, the last one twice
    job = apply_changes(make_job(status), order)

    # Then it is harvested, whatever came before or after
    assert job.status is S.HARVESTING
    assert job.replicate_id == "p1"
    assert job.replicate_output == SUCCEEDED.output
    done = apply_changes(job, [Harvested(output=Document(text='"ours"')), *order])
    assert done.status is S.SUCCEEDED
    assert done.output == Document(text='"ours"')


def test_report_stores_logs_of_running_job() -> None:
    logs = Document(text='"10 %"')

    job = apply_change(make_job(S.PROCESSING), make_report("processing", logs=logs))

    assert (job.status, job.logs) == (S.PROCESSING, logs)


def test_report_stores_what_ran_and_when_it_started() -> None:
    report = replace(make_report("succeeded"), version="v2", model="acme/second", started_at=LATER)

    job = apply_change(make_job(S.SUBMITTED, version="v1", model="acme/first"), report)

    assert (job.version, job.model, job.started_at) == ("v2", "acme/second", LATER)


def test_report_without_values_keeps_those_of_earlier_reports() -> None:
    logs = Document(text='"10 %"')
    known = {"version": "v1", "model": "acme/first", "started_at": LATER, "logs": logs, "metrics": {"n": 1}}

    job = apply_change(make_job(S.PROCESSING, **known), make_report("succeeded"))

    assert {name: getattr(job, name) for name in known} == known


def test_report_applies_to_job_whose_create_seemed_not_accepted() -> None:
    job = apply_change(make_job(S.QUEUED), make_report("processing"))

    assert (job.status, job.replicate_id) == (S.PROCESSING, "p1")


def test_report_is_matched_by_prediction_id_once_known() -> None:
    job = make_job(S.SUBMITTED, attempt=2)

    assert apply_change(job, make_report("processing", attempt=1)).status is S.PROCESSING
    with pytest.raises(StaleChangeError):
        apply_change(job, make_report("processing", attempt=2, replicate_id="p9"))


@pytest.mark.parametrize("status", ["starting", "processing", "succeeded", "failed"])
@pytest.mark.parametrize("is_sent_again", [False, True])
def test_polled_report_about_a_prediction_that_the_job_has_let_go_is_stale(
    status: str, is_sent_again: bool
) -> None:
    # Given a job that adopted the prediction of another one, which has taken it back, maybe sent again since
    adopter = apply_change(make_job(S.SUBMITTED, replicate_id="p1"), AdoptionRevoked(replicate_id="p1"))
    if is_sent_again:
        adopter = apply_change(adopter, ResubmitAllowed(attempt=1))

    # Then what was polled for it before does not give the prediction to both of them
    with pytest.raises(StaleChangeError):
        apply_change(adopter, make_report(status, channel=ReportChannel.POLL))


def test_new_attempt_knows_nothing_of_the_prediction_before_it() -> None:
    reported = make_job(
        S.SUBMIT_UNKNOWN,
        next_check_at=NOW - timedelta(hours=1),
        replicate_id="p1",
        replicate_status="processing",
        replicate_output=Document(text="[]"),
        report_channel=ReportChannel.POLL,
        started_at=NOW,
        completed_at=NOW,
        logs=Document(text='"10 %"'),
        partial_output=Document(text="[]"),
        progress_at=NOW,
        stream_url="https://outputs.test/streams/1",
        files=Document(text="[]"),
        metrics={"predict_time": 1.5},
        lease_until=NOW,
        checks=3,
        waiting=Waiting(reason=WaitReason.RATE_LIMIT),
        fallback_due_at=NOW,
        abandoned_at=NOW,
        timeline=dict.fromkeys(TimelineStep, NOW),
    )

    job = apply_change(reported, ResubmitAllowed(attempt=1))

    expected = make_job(S.QUEUED, id=job.id, attempt=2, past_attempts=job.past_attempts)
    assert job == expected
    assert [past.replicate_id for past in job.past_attempts] == ["p1"]


class TestTransientFailure:
    def test_job_gets_one_new_attempt_and_no_second(self) -> None:
        error = "Director: unexpected error handling prediction (E9828)"

        retried = apply_change(
            make_job(S.PROCESSING, started_at=NOW, logs=Document(text='"old"')),
            make_report("failed", error=error),
        )
        assert (retried.status, retried.attempt, retried.replicate_id) == (S.QUEUED, 2, None)
        assert (retried.started_at, retried.logs) == (None, None)
        assert retried.past_attempts[0].replicate_id == "p1"

        running = replace(retried, status=S.PROCESSING, replicate_id="p2")
        failed = apply_change(running, make_report("failed", attempt=2, replicate_id="p2", error=error))
        assert (failed.status, failed.error) == (S.FAILED, error)

    def test_repeated_report_does_not_change_new_attempt(self) -> None:
        failed = make_report("failed", error="(code: PA)")
        retried = apply_change(make_job(S.PROCESSING), failed)

        for job in (retried, apply_change(retried, Claimed(attempt=2, lease_until=LATER))):
            with pytest.raises(StaleChangeError):
                apply_change(job, failed)

    def test_job_is_not_retried_when_cancel_is_requested(self) -> None:
        job = make_job(S.PROCESSING, cancel_requested_at=NOW)

        assert apply_change(job, make_report("failed", error="(code: PA)")).status is S.FAILED

    def test_job_is_not_retried_once_its_output_may_be_read(self) -> None:
        """The Python client yields what a later output has beyond the one that it saw before."""
        running = apply_change(
            make_job(S.PROCESSING), make_report("processing", partial_output=Document(text='["The"]'))
        )
        failed = apply_change(running, make_report("failed", error="(code: PA)"))

        assert (failed.status, failed.error, failed.past_attempts) == (S.FAILED, "(code: PA)", ())

    @pytest.mark.parametrize(
        "error",
        [
            "Prediction interrupted; please retry (code: PA)",
            "Health check failed (E8765)",
            "Service is currently unavailable due to high demand. Please try again later. (E003) (1cah9wl)",
            "ModelError: Service is temporarily unavailable. Please try again later. (E004)",
        ],
    )
    def test_failure_of_replicate_or_of_the_models_provider_is_transient(self, error: str) -> None:
        retried = apply_change(make_job(S.PROCESSING), make_report("failed", error=error))

        assert (retried.status, retried.attempt) == (S.QUEUED, 2)

    @pytest.mark.parametrize(
        "error",
        [
            "CUDA out of memory (E1001)",
            "",
            "E98281",
            "code: PAST",
            "The input or output was flagged as sensitive. Please try again with different inputs. (E005)",
            "Episode (E003) has no frames",
        ],
    )
    def test_other_failure_is_final(self, error: str) -> None:
        assert apply_change(make_job(S.PROCESSING), make_report("failed", error=error)).status is S.FAILED


class TestReportOfAttemptWithUnknownOutcome:
    """The first attempt had an unknown outcome, the job was resubmitted, and then the first one reports."""

    def resubmit(self) -> Job:
        return apply_change(make_job(S.SUBMIT_UNKNOWN), ResubmitAllowed(attempt=1))

    def test_restores_attempt_while_next_one_is_queued(self) -> None:
        job = apply_change(self.resubmit(), make_report("processing", attempt=1))

        assert (job.status, job.attempt, job.replicate_id) == (S.PROCESSING, 1, "p1")
        assert job.past_attempts == ()

    @pytest.mark.parametrize(
        "later_changes", [[], [OutcomeUnknown(attempt=2)]], ids=["submitting", "outcome_unknown"]
    )
    def test_restores_attempt_while_next_one_is_sent(self, later_changes: list[Change]) -> None:
        job = apply_changes(self.resubmit(), [Claimed(attempt=2, lease_until=LATER), *later_changes])
        job = apply_change(job, make_report("succeeded", attempt=1))

        assert (job.status, job.attempt, job.replicate_id) == (S.HARVESTING, 1, "p1")
        assert [past.attempt for past in job.past_attempts] == [2]

    def test_number_of_replaced_attempt_is_not_reused(self) -> None:
        claimed = Claimed(attempt=2, lease_until=LATER)
        job = apply_changes(self.resubmit(), [claimed, make_report("processing", attempt=1)])
        job = apply_change(job, make_report("failed", attempt=1, error="(code: PA)"))

        assert job.attempt == 3
        with pytest.raises(StaleChangeError):
            apply_change(job, make_report("canceled", attempt=2, replicate_id="p2"))

    def test_is_stale_once_next_prediction_is_known(self) -> None:
        accepted = Accepted(attempt=2, replicate_id="p2")
        job = apply_changes(self.resubmit(), [Claimed(attempt=2, lease_until=LATER), accepted])

        with pytest.raises(StaleChangeError):
            apply_change(job, make_report("succeeded", attempt=1))

    def test_late_change_by_dispatcher_of_attempt_is_stale(self) -> None:
        job = apply_change(self.resubmit(), Claimed(attempt=2, lease_until=LATER))

        for change in (
            Accepted(attempt=1, replicate_id="p1"),
            Released(attempt=1, retry_at=LATER),
            Rejected(attempt=1, error="no"),
            OutcomeUnknown(attempt=1),
        ):
            with pytest.raises(StaleChangeError):
                apply_change(job, change)
