"""The order of a job's events at one target, and the end of every wait."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from replicate_proxy.webhooks.model import DeliveryStatus
from replicate_proxy.webhooks.retry_policy import DeliverySettings
from tests.support.deliveries import (
    TENANT,
    Received,
    World,
    answered,
    hanging,
    make_job,
    processing,
    refused_connection,
    succeeded,
)

if TYPE_CHECKING:
    from replicate_proxy.webhooks.sender import Answer

ALL = ("start", "output", "completed")


def tell_all(world: World) -> str:
    job = make_job(webhook_events=ALL)
    running = processing(job)
    world.happen((job, running), (running, succeeded(running)))
    return job.id


def test_a_later_event_waits_for_an_earlier_one_that_finds_nobody(world: World) -> None:
    answers = iter([refused_connection(), refused_connection()])
    world.receiver.behave = lambda _: next(answers, answered(200))
    tell_all(world)
    world.run(400)

    assert [request.event for request in world.receiver.received] == ["start"] * 3 + ["output", "completed"]


def test_the_one_that_waited_goes_at_once_when_its_turn_comes(world: World) -> None:
    answers = iter([refused_connection()])
    world.receiver.behave = lambda _: next(answers, answered(200))
    tell_all(world)
    world.run(60)

    start, *rest = [request.at for request in world.receiver.taken]
    assert all((at - start).total_seconds() < 1 for at in rest)


def test_an_event_that_is_refused_for_good_holds_the_others_for_minutes_only(world: World) -> None:
    world.receiver.behave = lambda request: answered(400 if request.event == "start" else 200)
    job_id = tell_all(world)
    world.run(1200)

    assert [request.event for request in world.receiver.taken] == ["output", "completed"]
    statuses = {each.kind.value: each.status for each in world.outbox.of_job(TENANT, job_id)}
    assert statuses["start"] is DeliveryStatus.SUPERSEDED
    tries = [request for request in world.receiver.received if request.event == "start"]
    assert len(tries) == 3
    world.run(90 * 3600)
    assert len([request for request in world.receiver.received if request.event == "start"]) == 3


def test_a_receiver_that_is_never_there_ends_every_wait(world: World) -> None:
    world.receiver.behave = lambda _: refused_connection()
    job_id = tell_all(world)
    world.run(15 * 24 * 3600)

    ended = world.outbox.of_job(TENANT, job_id)
    assert {each.status for each in ended} == {DeliveryStatus.FAILED}
    assert {each.due_at for each in ended} == {None}


def test_what_waited_follows_in_the_same_invocation(world: World) -> None:
    job = make_job(webhook_events=ALL)
    world.happen((job, succeeded(job)))
    command = world.queue.receive()
    assert command is not None
    assert len(world.queue) == 0

    world.deliverer.deliver(command)

    assert [request.event for request in world.receiver.taken] == list(ALL)
    assert len(world.queue) == 0


def test_a_slow_receiver_gets_one_request_an_invocation(world: World) -> None:
    """Three of them at fifteen seconds each would not fit the function's time."""
    world.receiver.behave = lambda _: answered(200, duration=14.0)
    job = make_job(webhook_events=ALL)
    world.happen((job, succeeded(job)))
    command = world.queue.receive()
    assert command is not None

    world.deliverer.deliver(command)

    assert [request.event for request in world.receiver.taken] == ["start"]
    assert len(world.queue) == 1


def test_targets_do_not_wait_for_each_other(world: World) -> None:
    world.receiver.behave = lambda request: hanging() if "slow" in request.url else answered(200)
    slow = make_job(id="slow", webhook="https://slow.example/", webhook_events=("completed",))
    quick = make_job(id="quick", webhook="https://quick.example/", webhook_events=("completed",))
    world.happen((slow, succeeded(slow)), (quick, succeeded(quick)))
    world.run(1)

    assert [request.json()["id"] for request in world.receiver.taken] == ["quick"]


OUTCOMES = st.sampled_from(["taken", "refused", "busy", "unreachable", "hangs"])


@settings(max_examples=60, deadline=None)
@given(st.lists(OUTCOMES, max_size=40))
def test_whatever_the_receiver_does_what_arrives_arrives_in_order_and_once(outcomes: list[str]) -> None:
    world = World(DeliverySettings(jitter=0.2))
    script = iter(outcomes)

    def behave(_: Received) -> Answer:
        match next(script, "taken"):
            case "refused":
                return answered(500)
            case "busy":
                return answered(503, {"retry-after": "30"})
            case "unreachable":
                return refused_connection()
            case "hangs":
                return hanging()
            case _:
                return answered(200)

    world.receiver.behave = behave
    job_id = tell_all(world)
    world.run(20 * 24 * 3600)

    told = [request.event for request in world.receiver.taken]
    assert told == sorted(set(told), key=ALL.index)
    ended = {each.kind.value: each.status for each in world.outbox.of_job(TENANT, job_id)}
    assert {kind for kind, status in ended.items() if status is DeliveryStatus.SUCCEEDED} == set(told)
    assert DeliveryStatus.PENDING not in ended.values()
    assert ended["completed"] is DeliveryStatus.SUCCEEDED or len(outcomes) >= 10
