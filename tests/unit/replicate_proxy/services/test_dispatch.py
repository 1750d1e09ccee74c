"""The dispatcher: every class of failure, crashes at every step, and never two predictions for a job."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from replicate_proxy.contracts.commands import DispatchCommand, DispatchKind
from replicate_proxy.errors import ConfigurationError, ConflictError, NotFoundError, RetryableError
from replicate_proxy.jobs.model import Document, Job, JobStatus, Submission, SubmissionKind
from replicate_proxy.ports import PredictionClaim, PredictionOwner
from replicate_proxy.replicate_api.errors import (
    BreakerOpenError,
    NotAcceptedError,
    OutcomeUnknownError,
    RejectedError,
    ThrottledError,
    TokenRejectedError,
    UnexpectedResponseError,
)
from tests.support.builders import make_job
from tests.support.clock import NOW
from tests.support.world import Crash, World, crash_once_at

if TYPE_CHECKING:
    from replicate_proxy.replicate_api.models import UpstreamPrediction

S = JobStatus


@pytest.fixture
def world() -> World:
    return World()


def test_dispatch_creates_prediction_of_queued_job(world: World) -> None:
    job = world.dispatch_job(world.put_job(webhook_events=("logs", "completed")))

    assert (job.status, job.replicate_id) == (S.SUBMITTED, "p1")
    assert world.replicate.predictions["p1"]["input"] == {"prompt": "a cat"}
    attempt = world.urls.parse_url(world.replicate.webhooks["p1"])
    assert attempt is not None
    assert (attempt.tenant, attempt.job_id, attempt.attempt) == (job.tenant, job.id, 1)
    owner = world.store.get_prediction_owner("p1")
    assert owner == PredictionOwner(job.tenant, job.id, PredictionClaim.CERTAIN)


@pytest.mark.parametrize(
    ("submission", "model"),
    [
        (Submission(kind=SubmissionKind.MODEL, owner="o", name="n"), "o/n"),
        (Submission(kind=SubmissionKind.DEPLOYMENT, owner="o", name="d"), "o/d"),
    ],
    ids=["model", "deployment"],
)
def test_dispatch_uses_endpoint_of_submission_kind(world: World, submission: Submission, model: str) -> None:
    world.dispatch_job(world.put_job(submission=submission))

    assert world.replicate.predictions["p1"]["model"] == model
    assert world.replicate.predictions["p1"]["version"] == "hidden"


def test_dispatch_creates_one_prediction_when_command_is_repeated(world: World) -> None:
    job = world.put_job()

    world.dispatch_job(job)
    world.dispatch_job(job)

    assert list(world.replicate.predictions) == ["p1"]


def test_dispatch_creates_one_prediction_when_two_dispatchers_race(world: World) -> None:
    job = world.put_job()

    def dispatch_concurrently(_: Job) -> None:
        world.store.before_save = lambda _: None
        world.dispatch_job(job)

    world.store.before_save = dispatch_concurrently
    world.dispatch_job(job)

    assert list(world.replicate.predictions) == ["p1"]


def test_dispatch_raises_not_found_when_job_does_not_exist(world: World) -> None:
    with pytest.raises(NotFoundError):
        world.dispatcher.handle_command(DispatchCommand.for_job(DispatchKind.SUBMIT, make_job()))


@pytest.mark.parametrize(
    ("error", "delay_seconds", "failed_submissions"),
    [
        (NotAcceptedError("no connection"), 5, 1),
        (NotAcceptedError("no connection", retry_after=30), 30, 1),
        (ThrottledError("slow down", retry_after=7), 7, 0),
        (BreakerOpenError("open", retry_after=20), 20, 0),
        (TokenRejectedError("our token", retry_after=60), 60, 0),
        (ConfigurationError("no token"), 60, 1),
        (NotAcceptedError("long", retry_after=5000), 900, 1),
    ],
)
def test_dispatch_requeues_job_when_create_is_not_accepted(
    world: World, error: Exception, delay_seconds: float, failed_submissions: int
) -> None:
    world.replicate.faults.fail("create", error=error)
    job = world.dispatch_job(world.put_job())

    assert (job.status, job.lease_until) == (S.QUEUED, None)
    assert job.failed_submissions == failed_submissions
    assert job.next_check_at == NOW + timedelta(seconds=delay_seconds + world.timeouts.queued_seconds)
    assert [message.due_seconds for message in world.messages] == [delay_seconds]
    # And the delayed message submits the job.
    world.pass_time(delay_seconds + 60)
    assert world.get_job(job).status is S.SUBMITTED


def test_dispatch_fails_job_with_replicates_text_when_create_is_rejected(world: World) -> None:
    world.replicate.faults.fail("create", error=RejectedError(422, "Invalid", "- input: prompt is required"))

    job = world.dispatch_job(world.put_job())

    assert (job.status, job.error) == (S.FAILED, "Invalid: - input: prompt is required")
    assert world.messages == []


@pytest.mark.parametrize(
    "error",
    [
        OutcomeUnknownError("reset"),
        UnexpectedResponseError("no id"),
        RetryableError("breaker's table is down"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_dispatch_does_not_send_again_when_outcome_is_unknown(world: World, error: Exception) -> None:
    world.replicate.faults.fail("create_response", error=error)
    job = world.dispatch_job(world.put_job())
    assert job.status is S.SUBMIT_UNKNOWN

    world.dispatch_job(job)
    world.pass_time(600)

    assert list(world.replicate.predictions) == ["p1"]
    assert (world.get_job(job).status, world.get_job(job).replicate_id) == (S.SUBMITTED, "p1")


@pytest.mark.parametrize(
    "step",
    ["before_claim", "job_claimed", "prediction_created", "prediction_claimed", "acceptance_stored"],
)
@pytest.mark.parametrize("webhooks", [True, False], ids=["webhooks", "polling"])
def test_crash_at_any_checkpoint_never_costs_second_prediction(step: str, *, webhooks: bool) -> None:
    # Given a dispatcher that crashes once, at the checkpoint
    world = World(fault_occurs=crash_once_at(f"dispatch.{step}"))
    job = world.put_job()
    with pytest.raises(Crash):
        world.dispatch_job(job)

    # When the message is received again, and the sweep runs
    world.dispatch_job(job)
    if webhooks and "p1" in world.replicate.predictions:
        world.replicate.start("p1")
        world.send_webhook("p1")
    world.pass_time(900)

    # Then there is exactly one prediction, and the job knows it
    assert list(world.replicate.predictions) == ["p1"]
    assert world.get_job(job).replicate_id == "p1"


def test_sweep_submits_job_when_dispatcher_crashes_after_release() -> None:
    world = World(fault_occurs=lambda name: name == "crash.dispatch.job_released")
    world.replicate.faults.fail("create", error=NotAcceptedError("no connection"))
    job = world.put_job()
    with pytest.raises(Crash):
        world.dispatch_job(job)

    world.pass_time(300)

    assert world.get_job(job).replicate_id == "p1"


class TestWaiting:
    def test_job_is_requeued_without_claim_when_rate_limited(self, world: World) -> None:
        world.replicate.create_delay_seconds = 40

        job = world.dispatch_job(world.put_job())

        assert (job.status, job.create_sent_at) == (S.QUEUED, None)
        assert [message.due_seconds for message in world.messages] == [40]

    def test_job_has_one_message_when_it_waits_for_an_hour(self, world: World) -> None:
        world.replicate.create_delay_seconds = 60
        job = world.accept_job().job
        world.pass_time(3600)
        assert len(world.messages) == 1
        assert world.dead_letters == []

        world.replicate.create_delay_seconds = 0
        world.pass_time(120)

        assert world.get_job(job).status is S.SUBMITTED

    def test_job_is_left_to_sweep_when_requeueing_fails(self) -> None:
        world = World(fault_occurs=lambda name: name == "queue.failed")
        world.replicate.create_delay_seconds = 40

        job = world.dispatch_job(world.put_job())

        assert job.status is S.QUEUED
        assert job.next_check_at is not None

    def test_job_fails_after_a_day(self, world: World) -> None:
        job = world.dispatch_job(world.put_job(created_at=NOW - timedelta(hours=25)))

        assert job.status is S.FAILED
        assert world.replicate.predictions == {}

    def test_job_is_canceled_at_its_deadline(self, world: World) -> None:
        job = world.dispatch_job(world.put_job(deadline=NOW - timedelta(seconds=1)))

        assert job.status is S.CANCELED
        assert world.replicate.predictions == {}


def test_dispatch_cancels_prediction_when_job_has_another(world: World) -> None:
    # Given a job whose first attempt was given up
    job = world.put_job()
    world.replicate.faults.fail("create_response", error=OutcomeUnknownError("reset"))
    world.dispatch_job(job)
    first_prediction = world.replicate.predictions.pop("p1")
    world.pass_time(300)
    job = world.get_job(job)
    assert job.attempt == 2
    if job.status is S.SUBMITTED:
        job = world.store.put(replace(job, status=S.QUEUED, replicate_id=None))
    world.messages.clear()
    world.replicate.predictions["p1"] = first_prediction
    create = world.replicate.create

    # When the first prediction reports while the second is being created
    def create_while_first_reports(*args: Any, **kwargs: Any) -> UpstreamPrediction:
        world.replicate.start("p1")
        world.send_webhook("p1")
        world.drain_messages()
        return create(*args, **kwargs)

    world.replicate.create = create_while_first_reports  # type: ignore[method-assign]  # for this test only
    world.dispatch_job(job)

    # Then the job has the first, and the second is canceled
    assert world.get_job(job).replicate_id == "p1"
    assert len(world.replicate.canceled) == 1
    assert "p1" not in world.replicate.canceled


def test_dispatch_raises_retryable_error_when_conflicts_do_not_end(world: World) -> None:
    job = world.put_job()

    def raise_conflict(_: Job) -> None:
        raise ConflictError("save job")

    world.store.before_save = raise_conflict
    with pytest.raises(RetryableError):
        world.dispatch_job(job)
    assert world.replicate.predictions == {}


def test_dispatch_reads_large_input_before_claim(world: World) -> None:
    job = world.put_job(input=Document(object_key="records/acme/x/input.json"))
    world.documents.faults.fail("read")

    with pytest.raises(RetryableError):
        world.dispatch_job(job)

    assert world.get_job(job).status is S.QUEUED
