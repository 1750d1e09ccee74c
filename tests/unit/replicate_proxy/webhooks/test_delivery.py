"""Delivery from the change of a job to the application: content, retries, redundant messages, crashes."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import pytest

from replicate_proxy.errors import ApiError, RetryableError
from replicate_proxy.jobs.model import Document, JobStatus
from replicate_proxy.webhooks.model import DeliveryStatus, EventKind, FailureReason
from replicate_proxy.webhooks.settings import DEFAULT_SCHEDULE_SECONDS, DeliverySettings
from tests.support.clock import NOW
from tests.support.delivery_pipeline import DeliveryPipeline
from tests.support.webhook_builders import TENANT, as_processing, as_succeeded, make_endpoint, make_job
from tests.support.webhook_fakes import refuse_connection, respond


def test_success_sends_output_then_completed(pipeline: DeliveryPipeline) -> None:
    job = as_processing(make_job())

    pipeline.apply_changes((make_job(), job), (job, as_succeeded(job)))
    pipeline.run_for()

    assert [request.event for request in pipeline.receiver.accepted] == ["output", "completed"]
    output, completed = (request.json() for request in pipeline.receiver.accepted)
    assert (output["status"], completed["status"]) == ("processing", "succeeded")
    assert output["output"] == completed["output"] == ["https://cdn.example/outputs/1.webp"]
    assert "completed_at" not in output
    assert completed["metrics"]["predict_time"] == 1.5
    assert completed["urls"]["get"] == f"https://proxy.example/prod/v1/predictions/{job.id}"


def test_sequence_numbers_grow_within_a_job(pipeline: DeliveryPipeline) -> None:
    job = make_job(webhook_events=("start", "output", "logs", "completed"))
    running = as_processing(job)
    logging = replace(running, revision=running.revision + 1, logs=Document(text='"50%"'))

    pipeline.apply_changes((None, job), (job, running), (running, logging), (logging, as_succeeded(logging)))
    pipeline.run_for()

    requests = pipeline.receiver.accepted
    assert [request.event for request in requests] == ["start", "logs", "output", "completed"]
    numbers = [int(request.headers["x-proxy-sequence"]) for request in requests]
    assert numbers == sorted(set(numbers))
    assert [request.json()["proxy"]["sequence"] for request in requests] == numbers


@pytest.mark.parametrize("status", [JobStatus.FAILED, JobStatus.CANCELED])
def test_failed_or_canceled_job_sends_completed_only(pipeline: DeliveryPipeline, status: JobStatus) -> None:
    job = make_job()
    partial = Document(text='["what it had written"]')
    ended = replace(job, status=status, revision=2, error="E1001", completed_at=NOW, output=partial)
    pipeline.apply_changes((job, ended))
    pipeline.run_for()

    (request,) = pipeline.receiver.accepted
    assert (request.event, request.json()["status"]) == ("completed", status.value)


def test_repeated_change_sends_nothing_again(pipeline: DeliveryPipeline) -> None:
    job = make_job()
    change = (job, as_succeeded(job))
    pipeline.apply_changes(change)
    pipeline.run_for()

    pipeline.apply_changes(change)
    pipeline.run_for(3600)

    assert len(pipeline.receiver.received) == 2
    assert len({request.headers["webhook-id"] for request in pipeline.receiver.received}) == 2


def test_retries_follow_schedule_with_same_id_and_bytes(pipeline: DeliveryPipeline) -> None:
    pipeline.receiver.behavior = lambda _: refuse_connection()

    job = pipeline.complete_job()
    pipeline.run_for(90 * 3600)

    requests = pipeline.receiver.received
    assert len(requests) == len(DEFAULT_SCHEDULE_SECONDS) == 10
    delays = [
        (later.received_at - earlier.received_at).total_seconds() for earlier, later in pairwise(requests)
    ]
    assert delays == pytest.approx(list(DEFAULT_SCHEDULE_SECONDS[1:]), abs=1.1)
    assert len({request.headers["webhook-id"] for request in requests}) == 1
    assert len({request.body for request in requests}) == 1
    (delivery,) = pipeline.deliveries.list_by_job(TENANT, job.id)
    assert (delivery.status, delivery.failure_reason) == (DeliveryStatus.FAILED, "exhausted")


def test_receiver_gets_all_events_after_outage_of_days(pipeline: DeliveryPipeline) -> None:
    outage_end = NOW + timedelta(hours=70)
    pipeline.receiver.behavior = lambda request: (
        respond(200) if request.received_at >= outage_end else refuse_connection()
    )
    jobs = [
        make_job(id=f"job{number}", webhook_events=("start", "output", "completed")) for number in range(20)
    ]

    for job in jobs:
        running = as_processing(job)
        pipeline.apply_changes((job, running), (running, as_succeeded(running)))
    pipeline.run_for(80 * 3600)

    for job in jobs:
        accepted = [request for request in pipeline.receiver.accepted if request.json()["id"] == job.id]
        assert [request.event for request in accepted] == ["start", "output", "completed"]


def test_flaky_receiver_accepts_each_of_many_deliveries_once(pipeline: DeliveryPipeline) -> None:
    numbers = iter(range(10_000_000))
    pipeline.receiver.behavior = lambda _: respond(500 if next(numbers) * 7919 % 10 < 3 else 200)
    jobs = [pipeline.complete_job(id=f"job{number:04}") for number in range(200)]
    pipeline.run_for(80 * 3600)

    accepted_ids = [request.json()["id"] for request in pipeline.receiver.accepted]
    assert sorted(accepted_ids) == [job.id for job in jobs]
    successes = [attempt for attempt in pipeline.deliveries.list_all_attempts() if attempt.status == 200]
    assert len(successes) == len(jobs)


def test_endpoint_receives_the_events_it_subscribes_to(pipeline: DeliveryPipeline) -> None:
    pipeline.endpoints.create(make_endpoint(id="ep_all", url="https://a.example/"))
    pipeline.endpoints.create(
        make_endpoint(id="ep_end", url="https://b.example/", events=(EventKind.COMPLETED,))
    )
    pipeline.endpoints.create(make_endpoint(id="ep_foreign", tenant="other", url="https://c.example/"))
    job = make_job(webhook=None)
    running = as_processing(job)

    pipeline.apply_changes((job, running), (running, as_succeeded(running)))
    pipeline.run_for()

    def list_events(url: str) -> list[str]:
        return [request.event for request in pipeline.receiver.accepted if request.url == url]

    assert list_events("https://a.example/") == ["start", "output", "completed"]
    assert list_events("https://b.example/") == ["completed"]
    assert list_events("https://c.example/") == []


def test_sweep_enqueues_delivery_when_message_is_lost(pipeline: DeliveryPipeline) -> None:
    pipeline.complete_job()
    assert pipeline.queue.receive() is not None  # The worker that received it crashes at once.

    pipeline.run_for(600)

    assert [request.event for request in pipeline.receiver.accepted] == ["completed"]


def test_delivery_is_attempted_after_lease_when_worker_crashes(pipeline: DeliveryPipeline) -> None:
    pipeline.complete_job()
    command = pipeline.queue.receive()
    assert command is not None
    assert pipeline.deliverer.prepare(command) is not None  # The worker crashes after the claim.

    pipeline.run_for(30)
    assert pipeline.receiver.accepted == []
    pipeline.run_for(100)

    assert [request.event for request in pipeline.receiver.accepted] == ["completed"]


def test_prepare_returns_none_when_message_is_received_twice(pipeline: DeliveryPipeline) -> None:
    pipeline.complete_job()
    command = pipeline.queue.receive()
    assert command is not None

    prepared = pipeline.deliverer.prepare(command)

    assert prepared is not None
    assert pipeline.deliverer.prepare(command) is None


@pytest.mark.parametrize("status", [200, 503])
def test_response_to_a_worker_whose_lease_has_ended_changes_nothing(
    pipeline: DeliveryPipeline, status: int
) -> None:
    # Given a worker that waits for a response for longer than its lease, and another that takes over
    job = pipeline.complete_job()
    command = pipeline.queue.receive()
    assert command is not None
    slow = pipeline.deliverer.prepare(command)
    pipeline.clock.advance(pipeline.settings.lease_seconds)
    other = pipeline.deliverer.prepare(command)
    assert slow is not None
    assert other is not None

    # When the first response arrives
    assert pipeline.deliverer.finish(slow, respond(status)) is None

    # Then the attempt is recorded, and the delivery is still that of the other worker
    (delivery,) = pipeline.deliveries.list_by_job(TENANT, job.id)
    assert delivery == other.delivery
    health = pipeline.receiver_limits.get(TENANT, delivery.receiver_id)
    assert health is not None
    assert health.in_flight == 1
    pipeline.deliverer.finish(other, respond(200))
    (delivery,) = pipeline.deliveries.list_by_job(TENANT, job.id)
    assert delivery.status is DeliveryStatus.SUCCEEDED
    statuses = [attempt.status for attempt in pipeline.deliveries.list_attempts(delivery)]
    assert statuses == [status, 200]


@pytest.mark.parametrize("has_earlier", [False, True])
def test_message_of_a_removed_delivery_is_ignored(pipeline: DeliveryPipeline, *, has_earlier: bool) -> None:
    job = make_job()
    pipeline.apply_changes((job, as_succeeded(job)))
    command = pipeline.queue.receive()
    assert command is not None
    *earlier, last = pipeline.deliveries.list_by_job(TENANT, job.id)
    for delivery in [last] if has_earlier else [*earlier, last]:
        pipeline.deliveries.remove(delivery)

    assert pipeline.deliverer.prepare(replace(command, sequence=last.sequence)) is None
    assert pipeline.receiver.received == []


@pytest.mark.parametrize(
    ("removed", "reason"),
    [("endpoint", FailureReason.ENDPOINT_DELETED), ("event", FailureReason.EXPIRED)],
)
def test_delivery_whose_endpoint_or_event_is_gone_fails_without_a_request(
    pipeline: DeliveryPipeline, removed: str, reason: FailureReason
) -> None:
    endpoint = make_endpoint(events=("completed",))
    pipeline.endpoints.create(endpoint)
    job = pipeline.complete_job(webhook=None)
    if removed == "endpoint":
        pipeline.endpoints.delete(TENANT, endpoint.id)
    else:
        for event in pipeline.deliveries.list_all_events():
            pipeline.deliveries.remove(event)

    pipeline.run_for(3600)

    (delivery,) = pipeline.deliveries.list_by_job(TENANT, job.id)
    assert (delivery.status, delivery.failure_reason) == (DeliveryStatus.FAILED, reason)
    assert pipeline.receiver.received == []


def test_delivery_that_changes_meanwhile_is_not_sent_again_on_request(
    pipeline: DeliveryPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = pipeline.complete_job()
    (delivery,) = pipeline.deliveries.list_by_job(TENANT, job.id)
    read = replace(delivery, revision=delivery.revision - 1)
    monkeypatch.setattr(pipeline.deliveries, "get", lambda *_: read)

    with pytest.raises(ApiError, match="in progress"):
        pipeline.redelivery.redeliver(TENANT, delivery.id)


def test_retry_after_delays_next_attempt_up_to_an_hour(pipeline: DeliveryPipeline) -> None:
    responses = iter(
        [respond(503, {"Retry-After": "120"}), respond(429, {"retry-after": "999999"}), respond(200)]
    )
    pipeline.receiver.behavior = lambda _: next(responses)

    pipeline.complete_job()
    pipeline.run_for(24 * 3600)

    seconds = [(request.received_at - NOW).total_seconds() for request in pipeline.receiver.received]
    assert seconds[1] == pytest.approx(120, abs=61)
    assert seconds[2] - seconds[1] == pytest.approx(3600, abs=61)


def test_redirect_counts_as_failure(pipeline: DeliveryPipeline) -> None:
    pipeline.receiver.behavior = lambda _: respond(302, {"location": "https://elsewhere.example/"})
    pipeline.complete_job()
    pipeline.run_for()

    (attempt,) = pipeline.deliveries.list_all_attempts()
    assert (attempt.status, attempt.error_code) == (302, "redirect")


def test_attempt_is_recorded_with_response_and_next_time(pipeline: DeliveryPipeline) -> None:
    pipeline.receiver.behavior = lambda _: respond(500, text="sorry", duration_seconds=0.25)
    job = pipeline.complete_job()
    pipeline.run_for(1)

    (attempt,) = pipeline.deliveries.list_attempts_by_job(TENANT, job.id)
    assert (attempt.number, attempt.status, attempt.error_code) == (1, 500, "http_5xx")
    assert (attempt.duration_ms, attempt.response_body) == (250, "sorry")
    assert attempt.sent_at == NOW
    assert attempt.next_attempt_at == NOW + timedelta(seconds=5.25)


def test_body_above_the_limit_is_sent_without_input() -> None:
    pipeline = DeliveryPipeline(DeliverySettings(max_body_bytes=2000))
    job = pipeline.complete_job(input=Document(text=json.dumps({"image": "data:" + "x" * 5000})))
    pipeline.run_for()

    body = pipeline.receiver.accepted[0].json()
    assert body["input"] == {}
    assert body["output"] == ["https://cdn.example/outputs/1.webp"]
    assert body["proxy"]["omitted"] == ["input"]
    assert (body["id"], body["status"]) == (job.id, "succeeded")


@pytest.mark.parametrize(
    ("part", "method"),
    [("deliveries", "record_attempt"), ("receiver_limits", "record_response"), ("deliveries", "get_next")],
)
def test_accepted_event_is_not_sent_again_when_its_records_fail(
    pipeline: DeliveryPipeline, monkeypatch: pytest.MonkeyPatch, part: str, method: str
) -> None:
    def fail(*_arguments: object, **_options: object) -> None:
        raise RetryableError("the table cannot be reached")

    monkeypatch.setattr(getattr(pipeline, part), method, fail)
    job = pipeline.complete_job()
    pipeline.run_for(3600)

    assert len(pipeline.receiver.accepted) == 1
    (delivery,) = pipeline.deliveries.list_by_job(TENANT, job.id)
    assert delivery.status is DeliveryStatus.SUCCEEDED
