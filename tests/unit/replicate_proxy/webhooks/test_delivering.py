"""From a change of a job to the application, through the notifier, the queue, the deliverer and the sweep."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import pytest

from replicate_proxy.jobs.model import Document, JobStatus
from replicate_proxy.webhooks.model import DeliveryStatus, EventKind
from replicate_proxy.webhooks.retry_policy import DEFAULT_SCHEDULE_SECONDS, DeliverySettings
from tests.support.clock import NOW
from tests.support.webhook_builders import TENANT, as_processing, as_succeeded, make_endpoint, make_job
from tests.support.webhook_fakes import refuse_connection, respond
from tests.support.webhook_simulation import WebhookSimulation


def test_a_success_is_told_as_output_and_completed(world: WebhookSimulation) -> None:
    job = as_processing(make_job())

    world.apply_changes((make_job(), job), (job, as_succeeded(job)))
    world.run_for()

    assert [request.event for request in world.receiver.accepted] == ["output", "completed"]
    output, completed = (request.json() for request in world.receiver.accepted)
    assert (output["status"], completed["status"]) == ("processing", "succeeded")
    assert output["output"] == completed["output"] == ["https://cdn.example/outputs/1.webp"]
    assert "completed_at" not in output
    assert completed["metrics"]["predict_time"] == 1.5
    assert completed["urls"]["get"] == f"https://proxy.example/prod/v1/predictions/{job.id}"


def test_each_event_has_a_sequence_number_that_grows_within_the_job(world: WebhookSimulation) -> None:
    job = make_job(webhook_events=("start", "output", "logs", "completed"))
    running = as_processing(job)
    logging = replace(running, revision=running.revision + 1, logs=Document(text='"50%"'))

    world.apply_changes((None, job), (job, running), (running, logging), (logging, as_succeeded(logging)))
    world.run_for()

    assert [request.event for request in world.receiver.accepted] == ["start", "logs", "output", "completed"]
    numbers = [int(request.headers["x-proxy-sequence"]) for request in world.receiver.accepted]
    assert numbers == sorted(set(numbers))
    assert [request.json()["proxy"]["sequence"] for request in world.receiver.accepted] == numbers


@pytest.mark.parametrize("status", [JobStatus.FAILED, JobStatus.CANCELED])
def test_an_unsuccessful_end_is_told_as_completed_alone(world: WebhookSimulation, status: JobStatus) -> None:
    job = make_job()
    world.apply_changes((job, replace(job, status=status, revision=2, error="E1001", completed_at=NOW)))
    world.run_for()

    (request,) = world.receiver.accepted
    assert (request.event, request.json()["status"]) == ("completed", status.value)


def test_the_same_stream_record_again_changes_nothing(world: WebhookSimulation) -> None:
    job = make_job()
    change = (job, as_succeeded(job))
    world.apply_changes(change)
    world.run_for()

    world.apply_changes(change)
    world.run_for(3600)

    assert len(world.receiver.received) == 2
    assert len({request.headers["webhook-id"] for request in world.receiver.received}) == 2


def test_retries_follow_the_schedule_with_the_same_id_and_bytes(world: WebhookSimulation) -> None:
    world.receiver.behavior = lambda _: refuse_connection()
    job = make_job(webhook_events=("completed",))

    world.apply_changes((job, as_succeeded(job)))
    world.run_for(90 * 3600)

    requests = world.receiver.received
    assert len(requests) == len(DEFAULT_SCHEDULE_SECONDS) == 10
    gaps = [(later.received_at - sooner.received_at).total_seconds() for sooner, later in pairwise(requests)]
    assert gaps == pytest.approx(list(DEFAULT_SCHEDULE_SECONDS[1:]), abs=1.1)
    assert len({request.headers["webhook-id"] for request in requests}) == 1
    assert len({request.body for request in requests}) == 1
    (delivery,) = world.deliveries.list_by_job(TENANT, job.id)
    assert (delivery.status, delivery.failure_reason) == (DeliveryStatus.FAILED, "exhausted")


def test_a_receiver_that_was_down_for_days_gets_everything_on_its_return(world: WebhookSimulation) -> None:
    back = NOW + timedelta(hours=70)
    world.receiver.behavior = lambda request: (
        respond(200) if request.received_at >= back else refuse_connection()
    )
    jobs = [
        make_job(id=f"job{number}", webhook_events=("start", "output", "completed")) for number in range(20)
    ]

    for job in jobs:
        running = as_processing(job)
        world.apply_changes((job, running), (running, as_succeeded(running)))
    world.run_for(80 * 3600)

    for job in jobs:
        told = [request.event for request in world.receiver.accepted if request.json()["id"] == job.id]
        assert told == ["start", "output", "completed"]


def test_a_thousand_deliveries_to_a_flaky_receiver_all_arrive_once(world: WebhookSimulation) -> None:
    numbers = iter(range(10_000_000))
    world.receiver.behavior = lambda _: respond(500 if next(numbers) * 7919 % 10 < 3 else 200)
    jobs = [make_job(id=f"job{number:04}", webhook_events=("completed",)) for number in range(1000)]

    for job in jobs:
        world.apply_changes((job, as_succeeded(job)))
    world.run_for(80 * 3600)

    assert sorted(request.json()["id"] for request in world.receiver.accepted) == [job.id for job in jobs]
    successes = [attempt for attempt in world.deliveries.recorded_attempts if attempt.status == 200]
    assert len(successes) == 1000


def test_registered_endpoints_get_what_they_asked_for(world: WebhookSimulation) -> None:
    world.endpoints.create(make_endpoint(id="ep_all", url="https://a.example/"))
    world.endpoints.create(
        make_endpoint(id="ep_end", url="https://b.example/", events=(EventKind.COMPLETED,))
    )
    world.endpoints.create(make_endpoint(id="ep_foreign", tenant="other", url="https://c.example/"))
    job = make_job(webhook=None)
    running = as_processing(job)

    world.apply_changes((job, running), (running, as_succeeded(running)))
    world.run_for()

    def told(url: str) -> list[str]:
        return [request.event for request in world.receiver.accepted if request.url == url]

    assert told("https://a.example/") == ["start", "output", "completed"]
    assert told("https://b.example/") == ["completed"]
    assert told("https://c.example/") == []


def test_a_message_lost_on_the_way_is_found_by_the_sweep(world: WebhookSimulation) -> None:
    job = make_job(webhook_events=("completed",))
    world.apply_changes((job, as_succeeded(job)))
    assert world.queue.receive() is not None  # received by a worker that died at once

    world.run_for(600)

    assert [request.event for request in world.receiver.accepted] == ["completed"]


def test_a_worker_that_dies_after_its_claim_costs_one_lease(world: WebhookSimulation) -> None:
    job = make_job(webhook_events=("completed",))
    world.apply_changes((job, as_succeeded(job)))
    command = world.queue.receive()
    assert command is not None
    assert world.deliverer.prepare(command) is not None  # and the worker is gone

    world.run_for(30)
    assert world.receiver.accepted == []
    world.run_for(300)

    assert [request.event for request in world.receiver.accepted] == ["completed"]


def test_a_message_that_comes_twice_is_sent_once(world: WebhookSimulation) -> None:
    job = make_job(webhook_events=("completed",))
    world.apply_changes((job, as_succeeded(job)))
    command = world.queue.receive()
    assert command is not None

    ready = world.deliverer.prepare(command)

    assert ready is not None
    assert world.deliverer.prepare(command) is None


def test_retry_after_puts_the_next_attempt_off_within_bounds(world: WebhookSimulation) -> None:
    answers = iter(
        [respond(503, {"Retry-After": "120"}), respond(429, {"retry-after": "999999"}), respond(200)]
    )
    world.receiver.behavior = lambda _: next(answers)
    job = make_job(webhook_events=("completed",))

    world.apply_changes((job, as_succeeded(job)))
    world.run_for(24 * 3600)

    at = [(request.received_at - NOW).total_seconds() for request in world.receiver.received]
    assert at[1] == pytest.approx(120, abs=61)
    assert at[2] - at[1] == pytest.approx(3600, abs=61)


def test_redirects_are_failures(world: WebhookSimulation) -> None:
    world.receiver.behavior = lambda _: respond(302, {"location": "https://elsewhere.example/"})
    job = make_job(webhook_events=("completed",))
    world.apply_changes((job, as_succeeded(job)))
    world.run_for()

    (attempt,) = world.deliveries.recorded_attempts
    assert (attempt.status, attempt.error_code) == (302, "redirect")


def test_each_attempt_is_recorded(world: WebhookSimulation) -> None:
    world.receiver.behavior = lambda _: respond(500, text="sorry", duration_seconds=0.25)
    job = make_job(webhook_events=("completed",))
    world.apply_changes((job, as_succeeded(job)))
    world.run_for(1)

    (attempt,) = world.deliveries.list_attempts_by_job(TENANT, job.id)
    assert (attempt.number, attempt.status, attempt.error_code) == (1, 500, "http_5xx")
    assert (attempt.duration_ms, attempt.response_body) == (250, "sorry")
    assert attempt.sent_at == NOW
    assert attempt.next_attempt_at == NOW + timedelta(seconds=5.25)


def test_bodies_above_the_limit_are_sent_thin() -> None:
    world = WebhookSimulation(DeliverySettings(max_body_bytes=2000))
    job = make_job(
        input=Document(text=json.dumps({"image": "data:" + "x" * 5000})), webhook_events=("completed",)
    )
    world.apply_changes((job, as_succeeded(job)))
    world.run_for()

    body = world.receiver.accepted[0].json()
    assert body["input"] == {}
    assert body["output"] == ["https://cdn.example/outputs/1.webp"]
    assert body["proxy"]["omitted"] == ["input"]
    assert (body["id"], body["status"]) == (job.id, "succeeded")


def test_status_changes_reach_the_bus_and_the_topic(world: WebhookSimulation) -> None:
    job = make_job()
    running = as_processing(job)
    harvesting = replace(running, status=JobStatus.HARVESTING, revision=3)

    world.apply_changes(
        (None, job), (job, running), (running, harvesting), (harvesting, as_succeeded(harvesting))
    )

    told = [(event.data["previous_status"], event.data["status"]) for event in world.bus.published]
    assert told == [(None, "starting"), ("starting", "processing"), ("processing", "succeeded")]
    assert [attributes["status"] for _, attributes in world.topic.messages] == [
        "starting",
        "processing",
        "succeeded",
    ]


def test_a_failure_while_recording_names_the_change_to_see_again(world: WebhookSimulation) -> None:
    job = make_job()
    broken = make_job(id="broken", output=Document(object_key="records/x"))
    object.__setattr__(world.notifier, "_documents", _Broken(world))

    assert world.apply_changes((None, job), (broken, as_succeeded(broken)), (job, as_succeeded(job))) == 1


def test_a_queue_that_refuses_has_the_whole_batch_seen_again(world: WebhookSimulation) -> None:
    world.queue.is_broken = True
    job = make_job()
    assert world.apply_changes((job, as_succeeded(job))) == 0

    world.queue.is_broken = False
    assert world.apply_changes((job, as_succeeded(job))) is None
    world.run_for()
    assert len(world.receiver.accepted) == 2


class _Broken:
    """A document store that cannot be reached for one job."""

    def __init__(self, world: WebhookSimulation) -> None:
        self._real = world.documents

    def save(self, tenant: str, job_id: str, name: str, value: object) -> Document:
        if job_id == "broken":
            raise OSError("no route")
        return self._real.save(tenant, job_id, name, value)

    def load(self, document: Document | None) -> object:
        return self._real.load(document)
