"""When an endpoint is disabled, and what happens to its deliveries."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from replicate_proxy.errors import ConflictError
from replicate_proxy.webhooks.model import DeliveryStatus, FailureReason
from tests.support.webhook_builders import TENANT, make_endpoint
from tests.support.webhook_fakes import respond

if TYPE_CHECKING:
    from replicate_proxy.webhooks.endpoints import Endpoint
    from tests.support.delivery_pipeline import DeliveryPipeline

NEW_URL = "https://new.example.com/hook"


@pytest.fixture
def endpoint(pipeline: DeliveryPipeline) -> Endpoint:
    """A registered endpoint for `completed`."""
    endpoint = make_endpoint(events=("completed",))
    pipeline.endpoints.create(endpoint)
    return endpoint


def reload(pipeline: DeliveryPipeline, endpoint: Endpoint) -> Endpoint:
    stored = pipeline.endpoints.get(TENANT, endpoint.id)
    assert stored is not None
    return stored


def test_410_disables_endpoint_and_publishes_event(pipeline: DeliveryPipeline) -> None:
    endpoint = make_endpoint()
    pipeline.endpoints.create(endpoint)
    pipeline.receiver.behavior = lambda _: respond(410)
    job = pipeline.complete_job(webhook=None)
    pipeline.run_for(3600)

    stored = reload(pipeline, endpoint)
    assert (stored.is_enabled, stored.disabled_reason) == (False, "gone")
    assert len(pipeline.receiver.received) == 1
    events = [event for event in pipeline.bus.published if event.name == "EndpointDisabled"]
    assert [event.data["reason"] for event in events] == ["gone"]
    deliveries = pipeline.deliveries.list_by_job(TENANT, job.id)
    assert {delivery.status for delivery in deliveries} == {DeliveryStatus.FAILED}


@pytest.mark.parametrize(
    ("header", "reason"), [("disable", "requested_by_receiver"), ("abort-message", None)]
)
def test_webhook_delivery_header_stops_retries(
    pipeline: DeliveryPipeline, endpoint: Endpoint, header: str, reason: str | None
) -> None:
    pipeline.receiver.behavior = lambda _: respond(503, {"Webhook-Delivery": header})
    pipeline.complete_job(webhook=None)
    pipeline.run_for(3600)

    assert len(pipeline.receiver.received) == 1
    assert reload(pipeline, endpoint).disabled_reason == reason


def test_hundred_consecutive_failures_disable_endpoint_after_an_hour(
    pipeline: DeliveryPipeline, endpoint: Endpoint
) -> None:
    pipeline.receiver.behavior = lambda _: respond(500)
    for number in range(60):
        pipeline.complete_job(id=f"job{number:02}", webhook=None)
    pipeline.run_for(1800)
    # 180 failures, but within minutes: the receiver may be restarting.
    assert reload(pipeline, endpoint).is_enabled

    pipeline.run_for(3 * 3600)

    assert reload(pipeline, endpoint).disabled_reason == "too_many_consecutive_failures"


def test_five_days_of_failures_disable_endpoint(pipeline: DeliveryPipeline, endpoint: Endpoint) -> None:
    pipeline.receiver.behavior = lambda _: respond(500)
    for day in range(6):
        pipeline.complete_job(id=f"job{day}", webhook=None)
        pipeline.run_for(23 * 3600)

    assert reload(pipeline, endpoint).disabled_reason == "failing_too_long"


def change_during_first_save(
    pipeline: DeliveryPipeline, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Let the tenant change the endpoint just before it is saved for the first time."""
    save = pipeline.endpoints.save
    changes = iter([True])

    def save_later(disabled: Endpoint) -> Endpoint:
        if next(changes, False):
            save(replace(reload(pipeline, endpoint), description="changed"))
        return save(disabled)

    monkeypatch.setattr(pipeline.endpoints, "save", save_later)


def test_410_is_received_again_when_endpoint_changes_meanwhile(
    pipeline: DeliveryPipeline, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_during_first_save(pipeline, endpoint, monkeypatch)
    pipeline.receiver.behavior = lambda _: respond(410)
    pipeline.complete_job(webhook=None)

    with pytest.raises(ConflictError):
        pipeline.run_for(1)
    assert reload(pipeline, endpoint).is_enabled
    pipeline.run_for(600)

    stored = reload(pipeline, endpoint)
    assert (stored.disabled_reason, stored.description) == ("gone", "changed")
    assert len(pipeline.receiver.received) == 2


def test_next_failure_disables_endpoint_when_it_changes_meanwhile(
    pipeline: DeliveryPipeline, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_during_first_save(pipeline, endpoint, monkeypatch)
    pipeline.receiver.behavior = lambda _: respond(500)
    for day in range(7):
        pipeline.complete_job(id=f"job{day}", webhook=None)
        pipeline.run_for(23 * 3600)

    stored = reload(pipeline, endpoint)
    assert (stored.disabled_reason, stored.description) == ("failing_too_long", "changed")


def test_failures_with_days_without_a_request_between_do_not_disable_endpoint(
    pipeline: DeliveryPipeline, endpoint: Endpoint
) -> None:
    pipeline.receiver.behavior = lambda _: respond(503, {"webhook-delivery": "abort-message"})
    pipeline.complete_job(id="job1", webhook=None)
    pipeline.run_for(6 * 86_400)
    responses = iter([503, 200])
    pipeline.receiver.behavior = lambda _: respond(next(responses))
    pipeline.complete_job(id="job2", webhook=None)
    pipeline.run_for(60)

    assert reload(pipeline, endpoint).is_enabled
    assert [request.json()["id"] for request in pipeline.receiver.accepted] == ["job2"]


def test_pause_of_days_between_two_failures_does_not_disable_endpoint(
    pipeline: DeliveryPipeline, endpoint: Endpoint
) -> None:
    responses = iter([503, 503, 200])
    pipeline.receiver.behavior = lambda _: respond(next(responses))
    pipeline.complete_job(id="job1", webhook=None)
    pipeline.run_for(1)
    pipeline.pause(TENANT)
    pipeline.run_for(6 * 86_400)
    pipeline.pauses.remove(TENANT)
    pipeline.run_for(3600)

    assert reload(pipeline, endpoint).is_enabled
    assert len(pipeline.receiver.accepted) == 1


@pytest.mark.parametrize(
    ("status", "header"),
    [(410, {}), (503, {"webhook-delivery": "disable"}), (200, {"webhook-delivery": "disable"})],
)
def test_response_of_old_url_does_not_disable_endpoint(
    pipeline: DeliveryPipeline, endpoint: Endpoint, status: int, header: dict[str, str]
) -> None:
    pipeline.receiver.behavior = lambda _: respond(status, header, duration_seconds=5)
    pipeline.complete_job(webhook=None)
    pipeline.run_for(1)
    pipeline.endpoint_service.update(TENANT, endpoint.id, url=NEW_URL)
    pipeline.receiver.behavior = lambda _: respond(200)
    pipeline.run_for(60)

    assert reload(pipeline, endpoint).is_enabled
    urls = [request.url for request in pipeline.receiver.received]
    assert urls == ([endpoint.url] if status == 200 else [endpoint.url, NEW_URL])


def test_failures_of_old_url_do_not_disable_endpoint(pipeline: DeliveryPipeline, endpoint: Endpoint) -> None:
    pipeline.receiver.behavior = lambda _: respond(503)
    pipeline.complete_job(id="job1", webhook=None)
    pipeline.run_for(4.9 * 86_400)
    pipeline.endpoint_service.update(TENANT, endpoint.id, description="the same URL", url=endpoint.url)
    assert pipeline.endpoint_service.get_health(endpoint).failing_since is not None
    pipeline.endpoint_service.update(TENANT, endpoint.id, url=NEW_URL)
    pipeline.run_for(0.2 * 86_400)
    pipeline.complete_job(id="job2", webhook=None)
    pipeline.run_for(2)

    assert reload(pipeline, endpoint).is_enabled


def test_success_resets_the_failure_count(pipeline: DeliveryPipeline, endpoint: Endpoint) -> None:
    numbers = iter(range(1_000_000))
    pipeline.receiver.behavior = lambda _: respond(200 if next(numbers) % 50 == 49 else 500)
    for number in range(60):
        pipeline.complete_job(id=f"job{number:02}", webhook=None)
    pipeline.run_for(24 * 3600)

    assert reload(pipeline, endpoint).is_enabled


def test_deliveries_to_disabled_endpoint_are_stored_as_failed(
    pipeline: DeliveryPipeline, endpoint: Endpoint
) -> None:
    pipeline.receiver.behavior = lambda _: respond(410)
    for number in range(3):
        pipeline.complete_job(id=f"job{number}", webhook=None)
        pipeline.run_for(10)

    assert len(pipeline.receiver.received) == 1
    reasons = [delivery.failure_reason for delivery in pipeline.deliveries.list_all()]
    assert reasons.count(FailureReason.ENDPOINT_DISABLED) == 2


def test_own_webhook_of_predictions_is_never_disabled(pipeline: DeliveryPipeline) -> None:
    pipeline.receiver.behavior = lambda _: respond(410)
    pipeline.complete_job(id="first")
    pipeline.run_for(10)
    pipeline.receiver.behavior = lambda _: respond(200)
    pipeline.complete_job(id="second")
    pipeline.run_for(10)

    assert [request.json()["id"] for request in pipeline.receiver.accepted] == ["second"]
