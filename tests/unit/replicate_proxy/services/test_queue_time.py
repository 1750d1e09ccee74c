"""Predictions that wait at Replicate for too long: canceled by the sweep's check, then the fallback runs."""

from __future__ import annotations

from datetime import timedelta

import pytest

from replicate_proxy.jobs.model import Job, JobStatus
from replicate_proxy.jobs.timeouts import JobTimeouts
from replicate_proxy.model_entries.entry import FallbackTarget, ModelEntry
from replicate_proxy.replicate_api.errors import OutcomeUnknownError
from replicate_proxy.services.check_outcome import CheckOutcome
from tests.support.pipeline import Pipeline, crash_once_at

S = JobStatus
LIMIT_SECONDS = 30
ENTRY = ModelEntry(
    name="acme/model",
    fallbacks=(FallbackTarget(target="acme/second"), FallbackTarget(target="acme/third")),
    fallback_after_seconds=LIMIT_SECONDS,
)


def submit(pipeline: Pipeline, entry: ModelEntry = ENTRY, *, is_streamed: bool = False) -> Job:
    """Return a job whose prediction has waited at Replicate for as long as its entry allows."""
    job = pipeline.accept_job(entry=entry, is_streamed=is_streamed).job
    pipeline.drain_messages()
    pipeline.clock.advance(LIMIT_SECONDS)
    return pipeline.get_job(job)


def count_live(pipeline: Pipeline) -> int:
    words = [prediction["status"] for prediction in pipeline.replicate.predictions.values()]
    return sum(word in {"starting", "processing"} for word in words)


@pytest.mark.parametrize("webhooks", [True, False], ids=["webhooks", "polling"])
def test_fallback_runs_once_the_prediction_is_canceled(*, webhooks: bool) -> None:
    pipeline = Pipeline(timeouts=JobTimeouts(webhooks_enabled=webhooks))
    job = submit(pipeline)

    assert pipeline.run_sweep() == {CheckOutcome.ABANDONED: 1}
    assert (pipeline.get_job(job).attempt, count_live(pipeline)) == (1, 1)
    pipeline.drain_messages()

    job = pipeline.get_job(job)
    assert pipeline.replicate.canceled == ["p1"]
    assert (job.status, job.attempt, job.model) == (S.SUBMITTED, 2, "acme/second")
    assert [past.outcome for past in job.past_attempts] == ["canceled"]


def test_every_fallback_has_the_limit_and_the_last_one_waits() -> None:
    pipeline = Pipeline()
    job = submit(pipeline)
    pipeline.pass_time(3600)

    assert pipeline.replicate.canceled == ["p1", "p2"]
    assert pipeline.get_job(job).replicate_id == "p3"

    pipeline.replicate.finish("p3")
    pipeline.send_webhook("p3")
    pipeline.drain_messages()
    assert pipeline.get_job(job).status is S.SUCCEEDED


def test_prediction_that_has_started_unnoticed_goes_on() -> None:
    pipeline = Pipeline()
    job = submit(pipeline)
    pipeline.replicate.start("p1")

    assert pipeline.run_sweep() == {CheckOutcome.REPORT_PUBLISHED: 1}
    pipeline.drain_messages()

    assert pipeline.replicate.canceled == []
    assert pipeline.get_job(job).status is S.PROCESSING


def test_prediction_that_starts_before_its_cancel_goes_on() -> None:
    pipeline = Pipeline()
    job = submit(pipeline)
    pipeline.run_sweep()
    pipeline.replicate.start("p1")
    messages, pipeline.messages = pipeline.messages, []
    pipeline.send_webhook("p1")
    pipeline.drain_messages()
    pipeline.messages = messages
    pipeline.drain_messages()

    assert pipeline.replicate.canceled == []
    assert pipeline.get_job(job).status is S.PROCESSING


def test_result_that_comes_before_the_cancel_is_taken() -> None:
    pipeline = Pipeline()
    job = submit(pipeline)
    pipeline.run_sweep()
    pipeline.replicate.finish("p1")
    pipeline.drain_messages()
    pipeline.send_webhook("p1")
    pipeline.drain_messages()

    job = pipeline.get_job(job)
    assert (job.status, job.attempt, len(pipeline.replicate.predictions)) == (S.SUCCEEDED, 1, 1)


def test_cancel_of_unknown_outcome_is_tried_again_without_fallback() -> None:
    pipeline = Pipeline()
    job = submit(pipeline)
    pipeline.replicate.faults.fail("cancel", times=3, error=OutcomeUnknownError("reset"))
    pipeline.run_sweep()
    pipeline.drain_messages()
    pipeline.pass_time(60)

    assert (pipeline.get_job(job).attempt, len(pipeline.replicate.predictions)) == (1, 1)

    pipeline.pass_time(600)
    assert pipeline.get_job(job).attempt > 1
    assert count_live(pipeline) == 1


def test_cancel_that_only_replicate_knows_of_is_found() -> None:
    pipeline = Pipeline()
    job = submit(pipeline)
    pipeline.run_sweep()
    pipeline.messages.clear()
    pipeline.replicate.finish("p1", "canceled")

    pipeline.pass_time(30)

    assert (pipeline.get_job(job).attempt, pipeline.get_job(job).status) == (2, S.SUBMITTED)


@pytest.mark.parametrize("checkpoint", ["dispatch.prediction_canceled", "dispatch.failure_stored"])
def test_crash_of_dispatch_delays_the_fallback(checkpoint: str) -> None:
    pipeline = Pipeline(fault_occurs=crash_once_at(checkpoint))
    job = submit(pipeline)
    pipeline.run_sweep()
    pipeline.pass_time(LIMIT_SECONDS + 150)

    assert pipeline.get_job(job).past_attempts[0].outcome == "canceled"
    assert pipeline.get_job(job).attempt > 1
    assert count_live(pipeline) == 1


def test_cancel_by_the_caller_wins() -> None:
    pipeline = Pipeline()
    job = submit(pipeline)
    pipeline.run_sweep()
    pipeline.canceler.cancel_job(job.tenant, job.id)
    pipeline.drain_messages()

    assert pipeline.get_job(job).status is S.CANCELED
    assert len(pipeline.replicate.predictions) == 1


def test_stream_waits() -> None:
    pipeline = Pipeline()
    job = submit(pipeline, is_streamed=True)
    pipeline.pass_time(1200)

    assert (pipeline.get_job(job).status, pipeline.replicate.canceled) == (S.SUBMITTED, [])


def test_entry_without_limit_waits() -> None:
    pipeline = Pipeline()
    job = submit(pipeline, ModelEntry(name=ENTRY.name, fallbacks=ENTRY.fallbacks))

    next_check_at = pipeline.get_job(job).next_check_at
    assert next_check_at is not None
    assert next_check_at > pipeline.clock.now() + timedelta(seconds=LIMIT_SECONDS)
    pipeline.pass_time(1200)
    assert pipeline.replicate.canceled == []
