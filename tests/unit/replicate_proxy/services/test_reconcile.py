"""The checks of overdue jobs: what each status leads to, and the backoff of failing checks."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from replicate_proxy.jobs.model import JobStatus
from replicate_proxy.jobs.timeouts import JobTimeouts
from replicate_proxy.services.check_outcome import CheckOutcome
from tests.support.clock import NOW
from tests.support.pipeline import Pipeline

if TYPE_CHECKING:
    from replicate_proxy.replicate_api.models import UpstreamPrediction

S = JobStatus
PAST = NOW - timedelta(seconds=1)


@pytest.fixture
def pipeline() -> Pipeline:
    return Pipeline()


def test_queued_job_is_submitted_when_message_is_lost(pipeline: Pipeline) -> None:
    job = pipeline.put_job(next_check_at=PAST)

    assert pipeline.run_sweep() == {CheckOutcome.SUBMIT_REQUEUED: 1}
    pipeline.drain_messages()

    assert pipeline.get_job(job).status is S.SUBMITTED


def test_submitting_job_is_resubmitted_when_dispatcher_crashed_before_sending(pipeline: Pipeline) -> None:
    job = pipeline.put_job(S.SUBMITTING, next_check_at=PAST, lease_until=PAST)

    assert pipeline.run_sweep() == {CheckOutcome.STILL_UNKNOWN: 1}
    assert pipeline.get_job(job).status is S.SUBMIT_UNKNOWN
    pipeline.pass_time(400)

    assert (pipeline.get_job(job).status, pipeline.get_job(job).attempt) == (S.SUBMITTED, 2)
    assert len(pipeline.replicate.predictions) == 1


def test_submitting_job_whose_cancel_is_requested_is_left_to_its_dispatcher(pipeline: Pipeline) -> None:
    lease_until = pipeline.clock.now() + timedelta(seconds=90)
    job = pipeline.put_job(S.SUBMITTING, next_check_at=lease_until, lease_until=lease_until)
    pipeline.canceler.cancel_job(job.tenant, job.id)

    pipeline.clock.advance(60)
    assert pipeline.run_sweep() == {CheckOutcome.LEASE_ACTIVE: 1}

    waiting = pipeline.get_job(job)
    assert (waiting.status, waiting.lease_until) == (S.SUBMITTING, lease_until)
    pipeline.pass_time(60)
    assert pipeline.get_job(job).status is S.SUBMIT_UNKNOWN


def test_running_job_succeeds_by_poll_when_webhook_is_lost(pipeline: Pipeline) -> None:
    job = pipeline.accept_job().job
    pipeline.drain_messages()
    pipeline.replicate.finish("p1")

    pipeline.pass_time(pipeline.timeouts.webhook_seconds + 60)

    done = pipeline.get_job(job)
    assert (done.status, done.report_channel) == (S.SUCCEEDED, "poll")


@pytest.mark.parametrize(
    ("webhooks", "minutes"),
    [(True, [5, 10, 20, 40, 70, 100]), (False, [0.5, 1, 1.5, 2, 2.5, 3, 3.5])],
    ids=["webhooks", "polling"],
)
def test_running_job_is_polled_at_growing_intervals(*, webhooks: bool, minutes: list[float]) -> None:
    pipeline = Pipeline(timeouts=JobTimeouts(webhooks_enabled=webhooks, poll_interval_seconds=25))
    pipeline.accept_job()
    pipeline.drain_messages()
    pipeline.replicate.start("p1")
    polled_after: list[float] = []
    read = pipeline.replicate.get

    def get(prediction_id: str) -> UpstreamPrediction:
        polled_after.append(pipeline.elapsed_seconds / 60)
        return read(prediction_id)

    pipeline.replicate.get = get  # type: ignore[method-assign]  # for this test only
    pipeline.pass_time(100 * 60)

    assert polled_after[: len(minutes)] == minutes


@pytest.mark.parametrize("webhooks", [True, False], ids=["webhooks", "polling"])
def test_result_is_found_within_its_hour_when_prediction_ran_for_hours(*, webhooks: bool) -> None:
    pipeline = Pipeline(timeouts=JobTimeouts(webhooks_enabled=webhooks))
    job = pipeline.accept_job().job
    pipeline.drain_messages()
    for _ in range(5):
        pipeline.pass_time(3000)
        pipeline.replicate.start("p1")
    pipeline.replicate.finish("p1")

    pipeline.pass_time(2400)

    assert pipeline.get_job(job).status is S.SUCCEEDED


def test_report_is_published_again_when_event_is_lost(pipeline: Pipeline) -> None:
    job = pipeline.accept_job().job
    pipeline.drain_messages()
    pipeline.replicate.finish("p1")
    pipeline.clock.advance(pipeline.timeouts.webhook_seconds + 1)
    pipeline.run_sweep()
    pipeline.messages.clear()

    pipeline.pass_time(90)

    assert pipeline.get_job(job).status is S.SUCCEEDED


def test_running_job_fails_when_replicate_has_deleted_output(pipeline: Pipeline) -> None:
    job = pipeline.accept_job().job
    pipeline.drain_messages()
    pipeline.replicate.finish("p1", metrics={"predict_time": 9.5})
    pipeline.clock.advance(7200)
    pipeline.replicate.remove_data(older_than=timedelta(hours=1))

    assert pipeline.run_sweep() == {CheckOutcome.OUTPUT_LOST: 1}

    failed = pipeline.get_job(job)
    assert failed.status is S.FAILED
    assert "lost" in (failed.error or "")
    # It has cost what it would have cost otherwise.
    assert (failed.replicate_status, failed.metrics) == ("succeeded", {"predict_time": 9.5})


def test_running_job_fails_when_replicate_does_not_know_prediction(pipeline: Pipeline) -> None:
    job = pipeline.put_job(S.PROCESSING, next_check_at=PAST, replicate_id="p404")

    assert pipeline.run_sweep() == {CheckOutcome.OUTPUT_LOST: 1}

    assert pipeline.get_job(job).status is S.FAILED


def test_harvest_is_resumed_when_lease_has_expired(pipeline: Pipeline) -> None:
    job = pipeline.put_job(S.HARVESTING, next_check_at=PAST, lease_until=PAST, completed_at=NOW)

    assert pipeline.run_sweep() == {CheckOutcome.HARVEST_RESUMED: 1}
    pipeline.drain_messages()

    assert pipeline.get_job(job).status is S.SUCCEEDED


def test_harvest_ends_with_source_urls_when_source_has_expired(pipeline: Pipeline) -> None:
    job = pipeline.put_job(S.HARVESTING, next_check_at=PAST, completed_at=NOW - timedelta(hours=2))

    assert pipeline.run_sweep() == {CheckOutcome.FINISHED_WITH_SOURCE_URLS: 1}

    done = pipeline.get_job(job)
    assert done.status is S.SUCCEEDED
    assert pipeline.documents.load(done.output) == "https://replicate.delivery/a.png"


def test_failing_check_is_repeated_at_growing_intervals(pipeline: Pipeline) -> None:
    job = pipeline.put_job(S.PROCESSING, next_check_at=PAST)
    pipeline.replicate.faults.fail("get", times=10_000)

    checks = 0
    for _ in range(120):
        checks += sum(pipeline.run_sweep().values())
        pipeline.clock.advance(60)

    assert 12 <= checks <= 20
    assert pipeline.get_job(job).status is S.PROCESSING


def test_failed_check_is_repeated_within_minutes_after_many_checks_without_progress(
    pipeline: Pipeline,
) -> None:
    job = pipeline.put_job(S.SUBMIT_UNKNOWN, next_check_at=PAST, create_sent_at=NOW, checks=9)
    pipeline.replicate.faults.fail("list")

    assert pipeline.run_sweep() == {CheckOutcome.CHECK_FAILED: 1}

    next_check_at = pipeline.get_job(job).next_check_at
    assert next_check_at is not None
    assert next_check_at - NOW <= timedelta(minutes=10)


@pytest.mark.parametrize("is_failing", [True, False])
def test_result_is_looked_for_within_its_hour_whatever_the_timeouts_are(*, is_failing: bool) -> None:
    """A check that fails, and a report that may be lost, are followed by another check in time."""
    pipeline = Pipeline(timeouts=JobTimeouts(unknown_outcome_seconds=1200))
    job = pipeline.accept_job().job
    pipeline.drain_messages()
    pipeline.replicate.finish("p1", output="a")
    current = pipeline.get_job(job)
    pipeline.store.put(replace(current, next_check_at=PAST, checks=9, revision=current.revision + 1))
    if is_failing:
        pipeline.replicate.faults.fail("get")

    outcome = CheckOutcome.CHECK_FAILED if is_failing else CheckOutcome.REPORT_PUBLISHED
    assert pipeline.run_sweep() == {outcome: 1}

    next_check_at = pipeline.get_job(job).next_check_at
    assert next_check_at is not None
    assert next_check_at - NOW <= timedelta(minutes=30)
