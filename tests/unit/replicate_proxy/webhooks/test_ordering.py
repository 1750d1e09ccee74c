"""The order of a job's events at one target."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from replicate_proxy.jobs.model import Document
from replicate_proxy.webhooks.delivery_updater import DeliveryUpdater
from replicate_proxy.webhooks.model import DeliveryStatus
from replicate_proxy.webhooks.receiver_limits import ConcurrencyLimitError
from replicate_proxy.webhooks.settings import DeliverySettings
from tests.support.delivery_pipeline import DeliveryPipeline
from tests.support.webhook_builders import TENANT, as_processing, as_succeeded, make_job
from tests.support.webhook_fakes import ReceivedRequest, refuse_connection, respond, time_out

if TYPE_CHECKING:
    from replicate_proxy.webhooks.model import Delivery
    from replicate_proxy.webhooks.sender import ReceiverResponse

EVENTS = ("start", "output", "completed")
BEHAVIORS = st.sampled_from(["accept", "reject", "busy", "unreachable", "time out"])


def run_job(pipeline: DeliveryPipeline) -> str:
    """Let a job run and succeed whose webhook receives all events; return its ID."""
    job = make_job(webhook_events=EVENTS)
    running = as_processing(job)
    pipeline.apply_changes((job, running), (running, as_succeeded(running)))
    return job.id


def test_later_event_waits_when_receiver_is_unavailable(pipeline: DeliveryPipeline) -> None:
    responses = iter([refuse_connection(), refuse_connection()])
    pipeline.receiver.behavior = lambda _: next(responses, respond(200))
    run_job(pipeline)
    pipeline.run_for(400)

    received = [request.event for request in pipeline.receiver.received]
    assert received == ["start"] * 3 + ["output", "completed"]


def test_waiting_events_follow_at_once_when_earlier_one_succeeds(pipeline: DeliveryPipeline) -> None:
    responses = iter([refuse_connection()])
    pipeline.receiver.behavior = lambda _: next(responses, respond(200))
    run_job(pipeline)
    pipeline.run_for(60)

    start_at, *later_times = [request.received_at for request in pipeline.receiver.accepted]
    assert len(later_times) == 2
    assert all((received_at - start_at).total_seconds() < 1 for received_at in later_times)


@pytest.mark.parametrize("delivered_before", ["logs", "output", "completed"])
def test_event_stored_after_earlier_one_was_sent_follows_at_once(
    pipeline: DeliveryPipeline, monkeypatch: pytest.MonkeyPatch, delivered_before: str
) -> None:
    """The delivery of `start` goes on with what the notifier has stored of the next change."""
    running = as_processing(make_job(webhook_events=("start", "logs", "output", "completed")))
    pipeline.apply_changes((make_job(), running))
    start = pipeline.queue.receive()
    assert start is not None
    create = pipeline.deliveries.create

    def create_after_delivery(delivery: Delivery) -> bool:
        if delivery.kind.value == delivered_before:
            pipeline.deliverer.deliver(start)
        return create(delivery)

    monkeypatch.setattr(pipeline.deliveries, "create", create_after_delivery)
    succeeded = as_succeeded(running, logs=Document(text='"line"'))
    pipeline.apply_changes((running, succeeded))
    pipeline.run_for(1)
    received = [request.event for request in pipeline.receiver.received]
    assert received == ["start", "logs", "output", "completed"]


def test_later_events_supersede_rejected_one_after_ordering_timeout(pipeline: DeliveryPipeline) -> None:
    pipeline.receiver.behavior = lambda request: respond(400 if request.event == "start" else 200)
    job_id = run_job(pipeline)
    pipeline.run_for(1200)

    def count_start_requests() -> int:
        return sum(request.event == "start" for request in pipeline.receiver.received)

    assert [request.event for request in pipeline.receiver.accepted] == ["output", "completed"]
    deliveries = pipeline.deliveries.list_by_job(TENANT, job_id)
    statuses = {delivery.kind.value: delivery.status for delivery in deliveries}
    assert statuses["start"] is DeliveryStatus.SUPERSEDED
    assert count_start_requests() == 3
    pipeline.run_for(90 * 3600)
    assert count_start_requests() == 3


def test_overtaken_event_is_not_sent_when_process_ended_before_superseding_it(
    pipeline: DeliveryPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DeliveryUpdater, "supersede_earlier", lambda *_arguments: None)
    pipeline.receiver.behavior = lambda request: respond(
        400 if request.event == "start" and not pipeline.receiver.accepted else 200
    )
    job_id = run_job(pipeline)
    pipeline.run_for(90 * 3600)

    assert [request.event for request in pipeline.receiver.accepted] == ["output", "completed"]
    deliveries = pipeline.deliveries.list_by_job(TENANT, job_id)
    statuses = {delivery.kind.value: delivery.status for delivery in deliveries}
    assert statuses["start"] is DeliveryStatus.SUPERSEDED


@pytest.mark.parametrize("timeouts", [1, 3])
def test_overtaken_event_waits_while_later_one_may_have_arrived(
    pipeline: DeliveryPipeline, timeouts: int
) -> None:
    """The receiver takes `output`, but its answers are lost; then it would take `start` as well."""
    answers = iter([time_out()] * timeouts)

    def behave(request: ReceivedRequest) -> ReceiverResponse:
        if request.event == "start":
            has_taken_output = any(other.event == "output" for other in pipeline.receiver.received)
            return respond(200 if has_taken_output else 400)
        return next(answers, respond(200))

    pipeline.receiver.behavior = behave
    run_job(pipeline)
    pipeline.run_for(90 * 3600)

    events = [request.event for request in pipeline.receiver.received]
    assert "start" not in events[events.index("output") :]
    assert [request.event for request in pipeline.receiver.accepted] == ["output", "completed"]


def test_event_that_may_have_arrived_is_still_known_for_it_when_no_slot_is_free(
    pipeline: DeliveryPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given an event whose attempt ended with its process
    pipeline.complete_job(webhook_events=EVENTS)
    command = pipeline.queue.receive()
    assert command is not None
    prepared = pipeline.deliverer.prepare(command)
    assert prepared is not None
    pipeline.clock.advance(pipeline.settings.lease_seconds)

    # When the next one finds no free slot
    def refuse(*_arguments: object, **_options: object) -> None:
        raise ConcurrencyLimitError(0)

    monkeypatch.setattr(pipeline.receiver_limits, "acquire_slot", refuse)
    assert pipeline.deliverer.prepare(command) is None

    # Then others still wait for it, until an answer says what came of it
    def read() -> Delivery:
        return next(iter(pipeline.deliveries.list_by_job(TENANT, command.job_id)))

    assert read().next_attempt_at > pipeline.clock.now()
    assert read().may_have_arrived
    monkeypatch.undo()
    pipeline.receiver.behavior = lambda _: respond(503)
    pipeline.clock.advance(60)
    pipeline.deliverer.deliver(command)
    assert read().lease_until is None


def test_redelivery_of_superseded_event_is_sent(pipeline: DeliveryPipeline) -> None:
    pipeline.receiver.behavior = lambda request: respond(400 if request.event == "start" else 200)
    job_id = run_job(pipeline)
    pipeline.run_for(1200)
    pipeline.receiver.behavior = lambda _: respond(200)
    (start,) = [one for one in pipeline.deliveries.list_by_job(TENANT, job_id) if one.kind == "start"]
    pipeline.redelivery.redeliver(TENANT, start.id)
    pipeline.run_for(1)

    assert [request.event for request in pipeline.receiver.accepted] == ["output", "completed", "start"]


def test_redelivery_does_not_wait_for_the_event_that_overtook_it(pipeline: DeliveryPipeline) -> None:
    # Given an event that the receiver rejects, and a later one whose answers are lost
    def behave(request: ReceivedRequest) -> ReceiverResponse:
        return respond(400) if request.event == "start" else time_out()

    pipeline.receiver.behavior = behave
    job_id = run_job(pipeline)
    pipeline.run_for(1200)
    start, output, _ = pipeline.deliveries.list_by_job(TENANT, job_id)
    assert output.may_have_arrived

    # When its tenant asks for the first one again
    pipeline.receiver.behavior = lambda _: respond(200)
    pipeline.redelivery.redeliver(TENANT, start.id)
    pipeline.run_for(5)

    # Then it is sent, and the others follow
    assert [request.event for request in pipeline.receiver.accepted] == ["start"]
    pipeline.run_for(1800)
    assert [request.event for request in pipeline.receiver.accepted] == list(EVENTS)


def test_every_delivery_ends_when_receiver_is_never_available(pipeline: DeliveryPipeline) -> None:
    pipeline.receiver.behavior = lambda _: refuse_connection()
    job_id = run_job(pipeline)
    pipeline.run_for(15 * 24 * 3600)

    deliveries = pipeline.deliveries.list_by_job(TENANT, job_id)
    assert {delivery.status for delivery in deliveries} == {DeliveryStatus.FAILED}
    assert {delivery.due_at for delivery in deliveries} == {None}


def test_waiting_events_follow_in_the_same_invocation(pipeline: DeliveryPipeline) -> None:
    pipeline.complete_job(webhook_events=EVENTS)
    command = pipeline.queue.receive()
    assert command is not None
    assert len(pipeline.queue) == 0

    pipeline.deliverer.deliver(command)

    assert [request.event for request in pipeline.receiver.accepted] == list(EVENTS)
    assert len(pipeline.queue) == 0


def test_slow_receiver_gets_one_request_per_invocation(pipeline: DeliveryPipeline) -> None:
    """Three requests of fifteen seconds would exceed the function's timeout."""
    pipeline.receiver.behavior = lambda _: respond(200, duration_seconds=14.0)
    pipeline.complete_job(webhook_events=EVENTS)
    command = pipeline.queue.receive()
    assert command is not None

    pipeline.deliverer.deliver(command)

    assert [request.event for request in pipeline.receiver.accepted] == ["start"]
    assert len(pipeline.queue) == 1


def test_targets_do_not_wait_for_each_other(pipeline: DeliveryPipeline) -> None:
    pipeline.receiver.behavior = lambda request: time_out() if "slow" in request.url else respond(200)
    pipeline.complete_job(id="slow", webhook="https://slow.example/")
    pipeline.complete_job(id="quick", webhook="https://quick.example/")
    pipeline.run_for(1)

    assert [request.json()["id"] for request in pipeline.receiver.accepted] == ["quick"]


@settings(max_examples=60, deadline=None)
@given(st.lists(BEHAVIORS, max_size=40))
def test_events_arrive_in_order_and_once_whatever_the_receiver_does(behaviors: list[str]) -> None:
    pipeline = DeliveryPipeline(DeliverySettings(jitter=0.2))
    remaining = iter(behaviors)

    def behave(_: ReceivedRequest) -> ReceiverResponse:
        match next(remaining, "accept"):
            case "reject":
                return respond(500)
            case "busy":
                return respond(503, {"retry-after": "30"})
            case "unreachable":
                return refuse_connection()
            case "time out":
                return time_out()
            case _:
                return respond(200)

    pipeline.receiver.behavior = behave
    job_id = run_job(pipeline)
    pipeline.run_for(20 * 24 * 3600)

    accepted = [request.event for request in pipeline.receiver.accepted]
    assert accepted == sorted(set(accepted), key=EVENTS.index)
    deliveries = pipeline.deliveries.list_by_job(TENANT, job_id)
    statuses = {delivery.kind.value: delivery.status for delivery in deliveries}
    succeeded = {kind for kind, status in statuses.items() if status is DeliveryStatus.SUCCEEDED}
    assert succeeded == set(accepted)
    assert DeliveryStatus.PENDING not in statuses.values()
    assert statuses["completed"] is DeliveryStatus.SUCCEEDED or len(behaviors) >= 10


def test_events_arrive_in_order_after_an_outage_in_which_there_were_many(pipeline: DeliveryPipeline) -> None:
    pipeline.receiver.behavior = lambda _: refuse_connection()
    job = make_job(webhook_events=("start", "logs", "completed"))
    running = as_processing(job)
    pipeline.apply_changes((None, job), (job, running))
    for number in range(40):
        logging = replace(running, revision=running.revision + 1, logs=Document(text=f'"{number}"'))
        pipeline.apply_changes((running, logging))
        pipeline.run_for(20)
        running = logging
    pipeline.apply_changes((running, as_succeeded(running)))
    pipeline.run_for(60)
    pipeline.receiver.behavior = lambda _: respond(200)
    pipeline.run_for(3600)

    sequences = [int(request.headers["x-proxy-sequence"]) for request in pipeline.receiver.accepted]
    assert sequences == sorted(
        delivery.sequence for delivery in pipeline.deliveries.list_by_job(TENANT, job.id)
    )
    assert len(sequences) == 42
