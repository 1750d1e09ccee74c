"""Dispatching: every class of failure, every place to die, and never two predictions for one job."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from replicate_proxy.contracts.commands import DispatchCommand, DispatchKind
from replicate_proxy.errors import ConfigurationError, ConflictError, NotFoundError, RetryableError
from replicate_proxy.jobs.model import Document, Job, JobStatus, Submission, SubmissionKind
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
from tests.support.world import Crash, World

if TYPE_CHECKING:
    from replicate_proxy.replicate_api.models import UpstreamPrediction

S = JobStatus


@pytest.fixture
def world() -> World:
    return World()


def command(job: Job, kind: DispatchKind = DispatchKind.SUBMIT) -> DispatchCommand:
    return DispatchCommand(kind, job.tenant, job.id, job.correlation_id)


def queued(world: World, **fields: Any) -> Job:
    return world.store.put(make_job(**fields))


def submit(world: World, job: Job) -> Job:
    world.dispatcher.handle(command(job))
    return world.get_job(job)


def test_a_queued_job_becomes_one_prediction(world: World) -> None:
    job = submit(world, queued(world, webhook_events=("logs", "completed")))

    assert (job.status, job.replicate_id) == (S.SUBMITTED, "p1")
    assert world.replicate.predictions["p1"]["input"] == {"prompt": "a cat"}
    reference = world.urls.parse_url(world.replicate.webhooks["p1"])
    assert reference is not None
    assert (reference.tenant, reference.job_id, reference.attempt) == (job.tenant, job.id, 1)
    assert world.store.get_prediction_owner("p1") == job.id


@pytest.mark.parametrize(
    ("submission", "path"),
    [
        (Submission(kind=SubmissionKind.MODEL, owner="o", name="n"), "o/n"),
        (Submission(kind=SubmissionKind.DEPLOYMENT, owner="o", name="d"), "o/d"),
    ],
)
def test_models_and_deployments_go_to_their_own_endpoint(
    world: World, submission: Submission, path: str
) -> None:
    submit(world, queued(world, submission=submission))
    assert world.replicate.predictions["p1"]["model"] == path
    assert world.replicate.predictions["p1"]["version"] == "hidden"


def test_a_command_that_comes_twice_is_sent_once(world: World) -> None:
    job = queued(world)
    submit(world, job)
    submit(world, job)
    assert list(world.replicate.predictions) == ["p1"]


def test_of_two_dispatchers_at_once_one_sends(world: World) -> None:
    job = queued(world)

    def other_was_faster(saving: Job) -> None:
        world.store.before_save = lambda _: None
        submit(world, job)

    world.store.before_save = other_was_faster
    submit(world, job)
    assert list(world.replicate.predictions) == ["p1"]


def test_a_job_that_is_gone_is_not_there(world: World) -> None:
    with pytest.raises(NotFoundError):
        world.dispatcher.handle(command(make_job()))


@pytest.mark.parametrize(
    ("error", "seconds", "releases"),
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
def test_what_was_not_accepted_is_parked(
    world: World, error: Exception, seconds: float, releases: int
) -> None:
    world.replicate.faults.fail("create", error=error)
    job = submit(world, queued(world))

    assert (job.status, job.failed_submissions, job.lease_until) == (S.QUEUED, releases, None)
    assert job.next_check_at == NOW + timedelta(seconds=seconds + world.timeouts.queued_seconds)
    assert [message.due_seconds for message in world.messages] == [seconds]
    # And it goes on by itself.
    world.pass_time(seconds + 60)
    assert world.get_job(job).status is S.SUBMITTED


def test_a_refusal_is_told_in_replicates_words(world: World) -> None:
    world.replicate.faults.fail("create", error=RejectedError(422, "Invalid", "- input: prompt is required"))
    job = submit(world, queued(world))
    assert (job.status, job.error) == (S.FAILED, "Invalid: - input: prompt is required")
    assert world.messages == []


@pytest.mark.parametrize(
    "error",
    [
        OutcomeUnknownError("reset"),
        UnexpectedResponseError("no id"),
        RetryableError("breaker's table is down"),
    ],
)
def test_an_unknown_outcome_is_never_simply_sent_again(world: World, error: Exception) -> None:
    world.replicate.faults.fail("create_answer", error=error)
    job = submit(world, queued(world))
    assert job.status is S.SUBMIT_UNKNOWN

    submit(world, job)
    world.pass_time(600)

    assert list(world.replicate.predictions) == ["p1"]
    assert (world.get_job(job).status, world.get_job(job).replicate_id) == (S.SUBMITTED, "p1")


CHECKPOINTS = ("before_claim", "job_claimed", "prediction_created", "prediction_claimed", "acceptance_stored")


@pytest.mark.parametrize("place", CHECKPOINTS)
@pytest.mark.parametrize("webhooks", [True, False])
def test_dying_anywhere_costs_time_and_never_a_second_prediction(place: str, *, webhooks: bool) -> None:
    # Given a dispatcher that dies once, at that place
    died: list[str] = []

    def dies_once(name: str) -> bool:
        if name != f"crash.dispatch.{place}" or died:
            return False
        died.append(name)
        return True

    world = World(fault_occurs=dies_once)
    job = queued(world)
    with pytest.raises(Crash):
        submit(world, job)

    # When the message comes again, and the sweep does its work
    submit(world, job)
    if webhooks and "p1" in world.replicate.predictions:
        world.replicate.start("p1")
        world.send_webhook("p1")
    world.pass_time(900)

    # Then there is exactly one prediction, and the job knows it
    assert list(world.replicate.predictions) == ["p1"]
    assert world.get_job(job).replicate_id == "p1"


def test_dying_after_the_release_leaves_the_job_to_the_sweep() -> None:
    world = World(fault_occurs=lambda name: name == "crash.dispatch.job_released")
    world.replicate.faults.fail("create", error=NotAcceptedError("no connection"))
    job = queued(world)
    with pytest.raises(Crash):
        submit(world, job)
    world.pass_time(300)
    assert world.get_job(job).replicate_id == "p1"


class TestWaiting:
    def test_parks_without_a_claim(self, world: World) -> None:
        world.replicate.create_delay_seconds = 40
        job = submit(world, queued(world))
        assert (job.status, job.create_sent_at) == (S.QUEUED, None)
        assert [message.due_seconds for message in world.messages] == [40]

    def test_for_an_hour_keeps_one_message_a_job(self, world: World) -> None:
        world.replicate.create_delay_seconds = 60
        job = world.accept_job().job
        world.pass_time(3600)
        assert len(world.messages) == 1
        assert world.dead_letters == []
        world.replicate.create_delay_seconds = 0
        world.pass_time(120)
        assert world.get_job(job).status is S.SUBMITTED

    def test_never_raises_when_parking_fails(self) -> None:
        world = World(fault_occurs=lambda name: name == "queue.failed")
        world.replicate.create_delay_seconds = 40
        job = submit(world, queued(world))
        assert job.status is S.QUEUED
        assert job.next_check_at is not None

    def test_ends_after_a_day(self, world: World) -> None:
        job = submit(world, queued(world, created_at=NOW - timedelta(hours=25)))
        assert job.status is S.FAILED
        assert world.replicate.predictions == {}

    def test_ends_at_the_callers_deadline(self, world: World) -> None:
        job = submit(world, queued(world, deadline=NOW - timedelta(seconds=1)))
        assert job.status is S.CANCELED
        assert world.replicate.predictions == {}


class TestCanceling:
    def test_before_sending_costs_nothing(self, world: World) -> None:
        job = world.accept_job().job
        assert world.canceler.cancel_job(job.tenant, job.id).status is S.CANCELED
        world.drain_messages()
        assert world.replicate.predictions == {}

    def test_of_a_running_prediction_reaches_replicate(self, world: World) -> None:
        job = submit(world, queued(world))
        world.canceler.cancel_job(job.tenant, job.id)
        world.drain_messages()
        assert world.replicate.canceled == ["p1"]
        assert world.get_job(job).status is S.CANCELED

    def test_while_the_request_is_on_its_way_is_met_afterwards(self, world: World) -> None:
        job = queued(world)
        create = world.replicate.create

        def cancel_meanwhile(*args: Any, **kwargs: Any) -> UpstreamPrediction:
            world.canceler.cancel_job(job.tenant, job.id)
            return create(*args, **kwargs)

        world.replicate.create = cancel_meanwhile  # type: ignore[method-assign]  # one test's twist
        submit(world, job)
        assert world.replicate.canceled == ["p1"]
        assert world.get_job(job).status is S.CANCELED

    def test_of_an_unknown_outcome_is_met_when_the_webhook_settles_it(self, world: World) -> None:
        world.replicate.faults.fail("create_answer", error=OutcomeUnknownError("reset"))
        job = submit(world, queued(world))
        world.canceler.cancel_job(job.tenant, job.id)
        world.replicate.start("p1")
        world.send_webhook("p1")
        world.drain_messages()
        assert world.replicate.canceled == ["p1"]
        assert world.get_job(job).status is S.CANCELED

    def test_that_comes_too_late_leaves_the_result(self, world: World) -> None:
        job = submit(world, queued(world))
        world.replicate.finish("p1")
        world.canceler.cancel_job(job.tenant, job.id)
        world.drain_messages()
        assert world.get_job(job).status is S.SUBMITTED
        world.send_webhook("p1")
        world.drain_messages()
        assert world.get_job(job).status is S.SUCCEEDED

    def test_that_replicate_refuses_is_no_dead_letter(self, world: World) -> None:
        job = submit(world, queued(world))
        world.replicate.faults.fail("cancel", error=RejectedError(404, "Not found", "gone"))
        world.canceler.cancel_job(job.tenant, job.id)
        world.drain_messages()
        assert world.dead_letters == []
        assert world.get_job(job).cancel_requested_at is not None

    def test_is_sent_again_by_the_sweep_when_its_message_is_lost(self) -> None:
        lost: list[bool] = [False]
        world = World(fault_occurs=lambda name: name == "queue.lost" and lost[0])
        job = submit(world, queued(world))
        lost[0] = True
        world.canceler.cancel_job(job.tenant, job.id)
        lost[0] = False
        world.pass_time(120)
        assert world.get_job(job).status is S.CANCELED

    def test_of_another_tenants_job_finds_nothing(self, world: World) -> None:
        job = queued(world)
        for tenant, job_id in (("other", job.id), ("acme", "../x"), ("acme", "a" * 5000)):
            with pytest.raises(NotFoundError):
                world.canceler.cancel_job(tenant, job_id)


def test_a_prediction_that_the_job_went_on_without_is_canceled(world: World) -> None:
    # Given a job whose first attempt was given up, and turns out to run while the second is being sent
    job = queued(world)
    world.replicate.faults.fail("create_answer", error=OutcomeUnknownError("reset"))
    submit(world, job)
    gone = world.replicate.predictions.pop("p1")
    world.pass_time(300)
    job = world.get_job(job)
    assert job.attempt == 2
    if job.status is S.SUBMITTED:
        job = world.store.put(replace(job, status=S.QUEUED, replicate_id=None))
    world.messages.clear()
    world.replicate.predictions["p1"] = gone
    create = world.replicate.create

    def report_meanwhile(*args: Any, **kwargs: Any) -> UpstreamPrediction:
        world.replicate.start("p1")
        world.send_webhook("p1")
        world.drain_messages()
        return create(*args, **kwargs)

    world.replicate.create = report_meanwhile  # type: ignore[method-assign]  # one test's twist
    world.dispatcher.handle(command(job))

    # Then the job has the first, and the second is stopped
    assert world.get_job(job).replicate_id == "p1"
    assert len(world.replicate.canceled) == 1
    assert "p1" not in world.replicate.canceled


def test_a_conflict_that_never_ends_gives_the_message_back(world: World) -> None:
    job = queued(world)

    def always(saving: Job) -> None:
        raise ConflictError("save job")

    world.store.before_save = always
    with pytest.raises(RetryableError):
        submit(world, job)
    assert world.replicate.predictions == {}


def test_a_large_input_is_read_before_the_claim(world: World) -> None:
    job = queued(world, input=Document(object_key="records/acme/x/input.json"))
    world.documents.faults.fail("read")
    with pytest.raises(RetryableError):
        submit(world, job)
    assert world.get_job(job).status is S.QUEUED
