"""The order of a job's events at one target, and the end of every wait."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from replicate_proxy.webhooks.model import DeliveryStatus
from replicate_proxy.webhooks.retry_policy import DeliverySettings
from tests.support.webhook_builders import TENANT, as_processing, as_succeeded, make_job
from tests.support.webhook_fakes import ReceivedRequest, refuse_connection, respond, time_out
from tests.support.webhook_simulation import WebhookSimulation

if TYPE_CHECKING:
    from replicate_proxy.webhooks.sender import ReceiverResponse

ALL = ("start", "output", "completed")


def tell_all(world: WebhookSimulation) -> str:
    job = make_job(webhook_events=ALL)
    running = as_processing(job)
    world.apply_changes((job, running), (running, as_succeeded(running)))
    return job.id


def test_a_later_event_waits_for_an_earlier_one_that_finds_nobody(world: WebhookSimulation) -> None:
    answers = iter([refuse_connection(), refuse_connection()])
    world.receiver.behavior = lambda _: next(answers, respond(200))
    tell_all(world)
    world.run_for(400)

    assert [request.event for request in world.receiver.received] == ["start"] * 3 + ["output", "completed"]


def test_the_one_that_waited_goes_at_once_when_its_turn_comes(world: WebhookSimulation) -> None:
    answers = iter([refuse_connection()])
    world.receiver.behavior = lambda _: next(answers, respond(200))
    tell_all(world)
    world.run_for(60)

    start, *rest = [request.received_at for request in world.receiver.accepted]
    assert all((at - start).total_seconds() < 1 for at in rest)


def test_an_event_that_is_refused_for_good_holds_the_others_for_minutes_only(
    world: WebhookSimulation,
) -> None:
    world.receiver.behavior = lambda request: respond(400 if request.event == "start" else 200)
    job_id = tell_all(world)
    world.run_for(1200)

    assert [request.event for request in world.receiver.accepted] == ["output", "completed"]
    statuses = {each.kind.value: each.status for each in world.deliveries.list_by_job(TENANT, job_id)}
    assert statuses["start"] is DeliveryStatus.SUPERSEDED
    tries = [request for request in world.receiver.received if request.event == "start"]
    assert len(tries) == 3
    world.run_for(90 * 3600)
    assert len([request for request in world.receiver.received if request.event == "start"]) == 3


def test_a_receiver_that_is_never_there_ends_every_wait(world: WebhookSimulation) -> None:
    world.receiver.behavior = lambda _: refuse_connection()
    job_id = tell_all(world)
    world.run_for(15 * 24 * 3600)

    ended = world.deliveries.list_by_job(TENANT, job_id)
    assert {each.status for each in ended} == {DeliveryStatus.FAILED}
    assert {each.due_at for each in ended} == {None}


def test_what_waited_follows_in_the_same_invocation(world: WebhookSimulation) -> None:
    job = make_job(webhook_events=ALL)
    world.apply_changes((job, as_succeeded(job)))
    command = world.queue.receive()
    assert command is not None
    assert len(world.queue) == 0

    world.deliverer.deliver(command)

    assert [request.event for request in world.receiver.accepted] == list(ALL)
    assert len(world.queue) == 0


def test_a_slow_receiver_gets_one_request_an_invocation(world: WebhookSimulation) -> None:
    """Three of them at fifteen seconds each would not fit the function's time."""
    world.receiver.behavior = lambda _: respond(200, duration_seconds=14.0)
    job = make_job(webhook_events=ALL)
    world.apply_changes((job, as_succeeded(job)))
    command = world.queue.receive()
    assert command is not None

    world.deliverer.deliver(command)

    assert [request.event for request in world.receiver.accepted] == ["start"]
    assert len(world.queue) == 1


def test_targets_do_not_wait_for_each_other(world: WebhookSimulation) -> None:
    world.receiver.behavior = lambda request: time_out() if "slow" in request.url else respond(200)
    slow = make_job(id="slow", webhook="https://slow.example/", webhook_events=("completed",))
    quick = make_job(id="quick", webhook="https://quick.example/", webhook_events=("completed",))
    world.apply_changes((slow, as_succeeded(slow)), (quick, as_succeeded(quick)))
    world.run_for(1)

    assert [request.json()["id"] for request in world.receiver.accepted] == ["quick"]


OUTCOMES = st.sampled_from(["taken", "refused", "busy", "unreachable", "hangs"])


@settings(max_examples=60, deadline=None)
@given(st.lists(OUTCOMES, max_size=40))
def test_whatever_the_receiver_does_what_arrives_arrives_in_order_and_once(outcomes: list[str]) -> None:
    world = WebhookSimulation(DeliverySettings(jitter=0.2))
    script = iter(outcomes)

    def behave(_: ReceivedRequest) -> ReceiverResponse:
        match next(script, "taken"):
            case "refused":
                return respond(500)
            case "busy":
                return respond(503, {"retry-after": "30"})
            case "unreachable":
                return refuse_connection()
            case "hangs":
                return time_out()
            case _:
                return respond(200)

    world.receiver.behavior = behave
    job_id = tell_all(world)
    world.run_for(20 * 24 * 3600)

    told = [request.event for request in world.receiver.accepted]
    assert told == sorted(set(told), key=ALL.index)
    ended = {each.kind.value: each.status for each in world.deliveries.list_by_job(TENANT, job_id)}
    assert {kind for kind, status in ended.items() if status is DeliveryStatus.SUCCEEDED} == set(told)
    assert DeliveryStatus.PENDING not in ended.values()
    assert ended["completed"] is DeliveryStatus.SUCCEEDED or len(outcomes) >= 10
