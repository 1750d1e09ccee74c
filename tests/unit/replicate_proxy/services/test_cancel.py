"""Canceling a job, in each status it may have."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from replicate_proxy.errors import NotFoundError, RetryableError
from replicate_proxy.jobs.model import JobStatus
from replicate_proxy.replicate_api.errors import (
    BreakerOpenError,
    OutcomeUnknownError,
    RejectedError,
    UpstreamUnavailableError,
)
from tests.support.pipeline import Pipeline

if TYPE_CHECKING:
    from replicate_proxy.replicate_api.models import UpstreamPrediction

S = JobStatus


@pytest.fixture
def pipeline() -> Pipeline:
    return Pipeline()


def test_queued_job_is_canceled_without_prediction(pipeline: Pipeline) -> None:
    job = pipeline.accept_job().job

    assert pipeline.canceler.cancel_job(job.tenant, job.id).status is S.CANCELED

    pipeline.drain_messages()
    assert pipeline.replicate.predictions == {}


def test_running_job_is_canceled_on_replicate(pipeline: Pipeline) -> None:
    job = pipeline.dispatch_job(pipeline.put_job())

    pipeline.canceler.cancel_job(job.tenant, job.id)
    pipeline.drain_messages()

    assert pipeline.replicate.canceled == ["p1"]
    assert pipeline.get_job(job).status is S.CANCELED


def test_job_is_canceled_after_create_when_requested_meanwhile(pipeline: Pipeline) -> None:
    job = pipeline.put_job()
    create = pipeline.replicate.create

    def create_while_cancel_is_requested(*args: Any, **kwargs: Any) -> UpstreamPrediction:
        pipeline.canceler.cancel_job(job.tenant, job.id)
        return create(*args, **kwargs)

    pipeline.replicate.create = create_while_cancel_is_requested  # type: ignore[method-assign]  # this test only
    pipeline.dispatch_job(job)

    assert pipeline.replicate.canceled == ["p1"]
    assert pipeline.get_job(job).status is S.CANCELED


def test_job_of_unknown_outcome_is_canceled_when_webhook_resolves_it(pipeline: Pipeline) -> None:
    pipeline.replicate.faults.fail("create_response", error=OutcomeUnknownError("reset"))
    job = pipeline.dispatch_job(pipeline.put_job())
    pipeline.canceler.cancel_job(job.tenant, job.id)

    pipeline.replicate.start("p1")
    pipeline.send_webhook("p1")
    pipeline.drain_messages()

    assert pipeline.replicate.canceled == ["p1"]
    assert pipeline.get_job(job).status is S.CANCELED


def test_job_succeeds_when_prediction_ended_before_cancel(pipeline: Pipeline) -> None:
    job = pipeline.dispatch_job(pipeline.put_job())
    pipeline.replicate.finish("p1")
    pipeline.canceler.cancel_job(job.tenant, job.id)
    pipeline.drain_messages()
    assert pipeline.get_job(job).status is S.SUBMITTED

    pipeline.send_webhook("p1")
    pipeline.drain_messages()

    assert pipeline.get_job(job).status is S.SUCCEEDED


def test_cancel_rejected_by_replicate_is_no_dead_letter(pipeline: Pipeline) -> None:
    job = pipeline.dispatch_job(pipeline.put_job())
    pipeline.replicate.faults.fail("cancel", error=RejectedError(404, "Not found", "gone"))

    pipeline.canceler.cancel_job(job.tenant, job.id)
    pipeline.drain_messages()

    assert (pipeline.messages, pipeline.dead_letters) == ([], [])
    assert pipeline.get_job(job).cancel_requested_at is not None


def test_cancel_waits_for_closed_breaker_without_using_up_receives(pipeline: Pipeline) -> None:
    # Given a breaker that stays open for longer than the receives of a message last
    job = pipeline.dispatch_job(pipeline.put_job())
    pipeline.replicate.faults.fail("cancel", times=12, error=BreakerOpenError("open", retry_after=30))
    pipeline.canceler.cancel_job(job.tenant, job.id)
    pipeline.drain_messages()
    assert pipeline.messages == []

    pipeline.pass_time(4 * 3600)

    assert pipeline.dead_letters == []
    assert pipeline.replicate.canceled == ["p1"]
    assert pipeline.get_job(job).status is S.CANCELED


@pytest.mark.parametrize(
    "error", [BreakerOpenError("open", retry_after=30), UpstreamUnavailableError("no response")]
)
def test_cancel_of_surplus_prediction_is_tried_until_it_succeeds(
    pipeline: Pipeline, error: RetryableError
) -> None:
    # Given a job that got its prediction by a callback of an earlier attempt while it was sent again
    pipeline.replicate.faults.fail("cancel", times=2, error=error)
    job = pipeline.put_job()

    def take_other_prediction(name: str) -> bool:
        if name == "crash.dispatch.prediction_created":
            pipeline.store.put(
                replace(pipeline.get_job(job), status=S.PROCESSING, replicate_id="p0", revision=99)
            )
        return False

    pipeline.fault_occurs = take_other_prediction
    pipeline.dispatch_job(job)

    pipeline.pass_time(300)

    assert pipeline.replicate.canceled == ["p1"]
    assert pipeline.dead_letters == []


def test_sweep_repeats_cancel_when_message_is_lost() -> None:
    loses_messages: list[bool] = [False]
    pipeline = Pipeline(fault_occurs=lambda name: name == "queue.lost" and loses_messages[0])
    job = pipeline.dispatch_job(pipeline.put_job())
    loses_messages[0] = True
    pipeline.canceler.cancel_job(job.tenant, job.id)
    loses_messages[0] = False

    pipeline.pass_time(120)

    assert pipeline.get_job(job).status is S.CANCELED


def test_cancel_is_accepted_when_it_cannot_be_enqueued(pipeline: Pipeline) -> None:
    job = pipeline.dispatch_job(pipeline.put_job())
    pipeline.fault_occurs = lambda name: name == "queue.failed"
    assert pipeline.canceler.cancel_job(job.tenant, job.id).cancel_requested_at is not None
    pipeline.fault_occurs = lambda _: False

    pipeline.pass_time(120)

    assert pipeline.get_job(job).status is S.CANCELED


def test_cancel_raises_not_found_when_job_is_another_tenants(pipeline: Pipeline) -> None:
    job = pipeline.put_job()

    with pytest.raises(NotFoundError):
        pipeline.canceler.cancel_job("other", job.id)


@pytest.mark.parametrize("job_id", ["../x", "a" * 5000], ids=["path", "too_long"])
def test_cancel_raises_not_found_when_id_is_malformed(pipeline: Pipeline, job_id: str) -> None:
    with pytest.raises(NotFoundError):
        pipeline.canceler.cancel_job("acme", job_id)
