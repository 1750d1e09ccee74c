"""When an endpoint is disabled, and what happens to its deliveries."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from replicate_proxy.webhooks.model import DeliveryStatus, FailureReason
from tests.support.webhook_builders import TENANT, make_endpoint
from tests.support.webhook_fakes import respond

if TYPE_CHECKING:
    from replicate_proxy.webhooks.endpoints import Endpoint
    from tests.support.webhook_simulation import WebhookSimulation


@pytest.fixture
def endpoint(simulation: WebhookSimulation) -> Endpoint:
    """A registered endpoint for `completed`."""
    endpoint = make_endpoint(events=("completed",))
    simulation.endpoints.create(endpoint)
    return endpoint


def reload(simulation: WebhookSimulation, endpoint: Endpoint) -> Endpoint:
    stored = simulation.endpoints.get(TENANT, endpoint.id)
    assert stored is not None
    return stored


def test_410_disables_endpoint_and_publishes_event(simulation: WebhookSimulation) -> None:
    endpoint = make_endpoint()
    simulation.endpoints.create(endpoint)
    simulation.receiver.behavior = lambda _: respond(410)
    job = simulation.complete_job(webhook=None)
    simulation.run_for(3600)

    stored = reload(simulation, endpoint)
    assert (stored.is_enabled, stored.disabled_reason) == (False, "gone")
    assert len(simulation.receiver.received) == 1
    events = [event for event in simulation.bus.published if event.name == "EndpointDisabled"]
    assert [event.data["reason"] for event in events] == ["gone"]
    deliveries = simulation.deliveries.list_by_job(TENANT, job.id)
    assert {delivery.status for delivery in deliveries} == {DeliveryStatus.FAILED}


@pytest.mark.parametrize(
    ("header", "reason"), [("disable", "requested_by_receiver"), ("abort-message", None)]
)
def test_webhook_delivery_header_stops_retries(
    simulation: WebhookSimulation, endpoint: Endpoint, header: str, reason: str | None
) -> None:
    simulation.receiver.behavior = lambda _: respond(503, {"Webhook-Delivery": header})
    simulation.complete_job(webhook=None)
    simulation.run_for(3600)

    assert len(simulation.receiver.received) == 1
    assert reload(simulation, endpoint).disabled_reason == reason


def test_hundred_consecutive_failures_disable_endpoint_after_an_hour(
    simulation: WebhookSimulation, endpoint: Endpoint
) -> None:
    simulation.receiver.behavior = lambda _: respond(500)
    for number in range(60):
        simulation.complete_job(id=f"job{number:02}", webhook=None)
    simulation.run_for(1800)
    # 180 failures, but within minutes: the receiver may be restarting.
    assert reload(simulation, endpoint).is_enabled

    simulation.run_for(3 * 3600)

    assert reload(simulation, endpoint).disabled_reason == "too_many_consecutive_failures"


def test_five_days_of_failures_disable_endpoint(simulation: WebhookSimulation, endpoint: Endpoint) -> None:
    simulation.receiver.behavior = lambda _: respond(500)
    for day in range(6):
        simulation.complete_job(id=f"job{day}", webhook=None)
        simulation.run_for(23 * 3600)

    assert reload(simulation, endpoint).disabled_reason == "failing_too_long"


def test_success_resets_the_failure_count(simulation: WebhookSimulation, endpoint: Endpoint) -> None:
    numbers = iter(range(1_000_000))
    simulation.receiver.behavior = lambda _: respond(200 if next(numbers) % 50 == 49 else 500)
    for number in range(60):
        simulation.complete_job(id=f"job{number:02}", webhook=None)
    simulation.run_for(24 * 3600)

    assert reload(simulation, endpoint).is_enabled


def test_deliveries_to_disabled_endpoint_are_stored_as_failed(
    simulation: WebhookSimulation, endpoint: Endpoint
) -> None:
    simulation.receiver.behavior = lambda _: respond(410)
    for number in range(3):
        simulation.complete_job(id=f"job{number}", webhook=None)
        simulation.run_for(10)

    assert len(simulation.receiver.received) == 1
    reasons = [delivery.failure_reason for delivery in simulation.deliveries.deliveries.values()]
    assert reasons.count(FailureReason.ENDPOINT_DISABLED) == 2


def test_own_webhook_of_predictions_is_never_disabled(simulation: WebhookSimulation) -> None:
    simulation.receiver.behavior = lambda _: respond(410)
    simulation.complete_job(id="first")
    simulation.run_for(10)
    simulation.receiver.behavior = lambda _: respond(200)
    simulation.complete_job(id="second")
    simulation.run_for(10)

    assert [request.json()["id"] for request in simulation.receiver.accepted] == ["second"]
