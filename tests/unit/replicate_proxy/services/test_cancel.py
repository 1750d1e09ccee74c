"""Canceling a job, in each status it may have."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from replicate_proxy.errors import NotFoundError
from replicate_proxy.jobs.model import JobStatus
from replicate_proxy.replicate_api.errors import BreakerOpenError, OutcomeUnknownError, RejectedError
from tests.support.world import World

if TYPE_CHECKING:
    from replicate_proxy.replicate_api.models import UpstreamPrediction

S = JobStatus


@pytest.fixture
def world() -> World:
    return World()


def test_queued_job_is_canceled_without_prediction(world: World) -> None:
    job = world.accept_job().job

    assert world.canceler.cancel_job(job.tenant, job.id).status is S.CANCELED

    world.drain_messages()
    assert world.replicate.predictions == {}


def test_running_job_is_canceled_on_replicate(world: World) -> None:
    job = world.dispatch_job(world.put_job())

    world.canceler.cancel_job(job.tenant, job.id)
    world.drain_messages()

    assert world.replicate.canceled == ["p1"]
    assert world.get_job(job).status is S.CANCELED


def test_job_is_canceled_after_create_when_requested_meanwhile(world: World) -> None:
    job = world.put_job()
    create = world.replicate.create

    def create_while_cancel_is_requested(*args: Any, **kwargs: Any) -> UpstreamPrediction:
        world.canceler.cancel_job(job.tenant, job.id)
        return create(*args, **kwargs)

    world.replicate.create = create_while_cancel_is_requested  # type: ignore[method-assign]  # this test only
    world.dispatch_job(job)

    assert world.replicate.canceled == ["p1"]
    assert world.get_job(job).status is S.CANCELED


def test_job_of_unknown_outcome_is_canceled_when_webhook_resolves_it(world: World) -> None:
    world.replicate.faults.fail("create_response", error=OutcomeUnknownError("reset"))
    job = world.dispatch_job(world.put_job())
    world.canceler.cancel_job(job.tenant, job.id)

    world.replicate.start("p1")
    world.send_webhook("p1")
    world.drain_messages()

    assert world.replicate.canceled == ["p1"]
    assert world.get_job(job).status is S.CANCELED


def test_job_succeeds_when_prediction_ended_before_cancel(world: World) -> None:
    job = world.dispatch_job(world.put_job())
    world.replicate.finish("p1")
    world.canceler.cancel_job(job.tenant, job.id)
    world.drain_messages()
    assert world.get_job(job).status is S.SUBMITTED

    world.send_webhook("p1")
    world.drain_messages()

    assert world.get_job(job).status is S.SUCCEEDED


def test_cancel_rejected_by_replicate_is_no_dead_letter(world: World) -> None:
    job = world.dispatch_job(world.put_job())
    world.replicate.faults.fail("cancel", error=RejectedError(404, "Not found", "gone"))

    world.canceler.cancel_job(job.tenant, job.id)
    world.drain_messages()

    assert world.dead_letters == []
    assert world.get_job(job).cancel_requested_at is not None


def test_cancel_waits_for_closed_breaker_without_using_up_receives(world: World) -> None:
    # Given a breaker that stays open for longer than the receives of a message last
    job = world.dispatch_job(world.put_job())
    world.replicate.faults.fail("cancel", times=12, error=BreakerOpenError("open", retry_after=30))
    world.canceler.cancel_job(job.tenant, job.id)

    world.pass_time(4 * 3600)

    assert world.dead_letters == []
    assert all(message.receive_count == 0 for message in world.messages)
    assert world.replicate.canceled == ["p1"]
    assert world.get_job(job).status is S.CANCELED


def test_cancel_of_surplus_prediction_is_tried_until_it_succeeds(world: World) -> None:
    # Given a job that got its prediction by a callback of an earlier attempt while it was sent again
    world.replicate.faults.fail("cancel", times=2, error=BreakerOpenError("open", retry_after=30))
    job = world.put_job()

    def take_other_prediction(name: str) -> bool:
        if name == "crash.dispatch.prediction_created":
            world.store.put(replace(world.get_job(job), status=S.PROCESSING, replicate_id="p0", revision=99))
        return False

    world.fault_occurs = take_other_prediction
    world.dispatch_job(job)

    world.pass_time(300)

    assert world.replicate.canceled == ["p1"]
    assert world.dead_letters == []


def test_sweep_repeats_cancel_when_message_is_lost() -> None:
    loses_messages: list[bool] = [False]
    world = World(fault_occurs=lambda name: name == "queue.lost" and loses_messages[0])
    job = world.dispatch_job(world.put_job())
    loses_messages[0] = True
    world.canceler.cancel_job(job.tenant, job.id)
    loses_messages[0] = False

    world.pass_time(120)

    assert world.get_job(job).status is S.CANCELED


def test_cancel_raises_not_found_when_job_is_another_tenants(world: World) -> None:
    job = world.put_job()

    with pytest.raises(NotFoundError):
        world.canceler.cancel_job("other", job.id)


@pytest.mark.parametrize("job_id", ["../x", "a" * 5000], ids=["path", "too_long"])
def test_cancel_raises_not_found_when_id_is_malformed(world: World, job_id: str) -> None:
    with pytest.raises(NotFoundError):
        world.canceler.cancel_job("acme", job_id)
