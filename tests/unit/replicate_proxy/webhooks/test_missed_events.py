"""An endpoint that is enabled while deliveries to it fail because it is disabled misses nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from replicate_proxy.webhooks import redelivery
from replicate_proxy.webhooks.model import DeliveryStatus
from tests.support.webhook_builders import TENANT, make_endpoint
from tests.support.webhook_fakes import respond

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicate_proxy.webhooks.endpoints import Endpoint, MissedSearch
    from tests.support.webhook_simulation import WebhookSimulation


@pytest.fixture
def endpoint(simulation: WebhookSimulation) -> Endpoint:
    """A disabled endpoint for `completed`."""
    endpoint = make_endpoint(events=("completed",))
    simulation.endpoints.create(endpoint)
    return simulation.endpoint_service.update(TENANT, endpoint.id, enabled=False)


def enable(simulation: WebhookSimulation, endpoint: Endpoint) -> None:
    """Enable the endpoint as the route does."""
    assert endpoint.disabled_at is not None
    enabled = simulation.endpoint_service.enable(TENANT, endpoint.id)
    simulation.redelivery.redeliver_missed(enabled, endpoint.disabled_at)


def read_search(simulation: WebhookSimulation, endpoint: Endpoint) -> MissedSearch | None:
    stored = simulation.endpoints.get(TENANT, endpoint.id)
    assert stored is not None
    return stored.missed_search


def run_before_first[**P, T](function: Callable[P, T], act: Callable[[], object]) -> Callable[P, T]:
    """Return the function, before whose first call `act` runs: what others do in between."""
    pending = [act]

    def call(*arguments: P.args, **options: P.kwargs) -> T:
        if pending:
            pending.pop()()
        return function(*arguments, **options)

    return call


def test_event_stored_while_endpoint_is_enabled_is_sent(
    simulation: WebhookSimulation, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = run_before_first(simulation.deliveries.create, lambda: enable(simulation, endpoint))
    monkeypatch.setattr(simulation.deliveries, "create", create)
    simulation.complete_job(webhook=None)
    simulation.run_for(1)
    assert [request.event for request in simulation.receiver.accepted] == ["completed"]


def test_delivery_failed_while_endpoint_is_enabled_is_sent(
    simulation: WebhookSimulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    created = make_endpoint(events=("completed",))
    simulation.endpoints.create(created)
    simulation.complete_job(webhook=None)
    disabled = simulation.endpoint_service.update(TENANT, created.id, enabled=False)
    save = run_before_first(simulation.deliveries.save, lambda: enable(simulation, disabled))
    monkeypatch.setattr(simulation.deliveries, "save", save)
    simulation.run_for(1)
    assert [request.event for request in simulation.receiver.accepted] == ["completed"]


def test_failure_written_after_search_is_found_by_next_search(
    simulation: WebhookSimulation, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process that wrote it ends before it reads the endpoint again."""
    monkeypatch.setattr(simulation.notifier, "_restart_missed", lambda _deliveries, _now: [])
    create = run_before_first(simulation.deliveries.create, lambda: enable(simulation, endpoint))
    monkeypatch.setattr(simulation.deliveries, "create", create)
    job = simulation.complete_job(webhook=None)
    simulation.redelivery.continue_missed_search(TENANT, endpoint.id)
    (delivery,) = simulation.deliveries.list_by_job(TENANT, job.id)
    assert delivery.status is DeliveryStatus.FAILED
    simulation.clock.advance(minutes=2)
    simulation.redelivery.continue_missed_search(TENANT, endpoint.id)
    simulation.run_for(1)
    assert [request.event for request in simulation.receiver.accepted] == ["completed"]
    assert read_search(simulation, endpoint) is None


def test_search_goes_on_where_the_last_one_stopped(
    simulation: WebhookSimulation, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redelivery, "_PAGE_SIZE", 1)
    monkeypatch.setattr(redelivery, "_MAX_PAGES", 1)
    for number in range(3):
        simulation.complete_job(id=f"job{number}", webhook=None)
    simulation.endpoint_service.enable(TENANT, endpoint.id)
    simulation.clock.advance(minutes=2)
    runs = 0
    while read_search(simulation, endpoint) is not None:
        simulation.redelivery.continue_missed_search(TENANT, endpoint.id)
        runs += 1
    simulation.run_for(1)
    assert runs == 3
    assert len(simulation.receiver.accepted) == 3


def test_endpoint_disabled_again_is_not_searched(simulation: WebhookSimulation, endpoint: Endpoint) -> None:
    simulation.complete_job(webhook=None)
    simulation.endpoint_service.enable(TENANT, endpoint.id)
    simulation.endpoint_service.update(TENANT, endpoint.id, enabled=False)
    simulation.clock.advance(minutes=2)
    simulation.redelivery.continue_missed_search(TENANT, endpoint.id)
    simulation.run_for(1)
    assert not simulation.receiver.received
    assert read_search(simulation, endpoint) is None


def test_enabling_without_redelivery_searches_nothing(
    simulation: WebhookSimulation, endpoint: Endpoint
) -> None:
    simulation.endpoint_service.enable(TENANT, endpoint.id, searches_missed=False)
    assert read_search(simulation, endpoint) is None


def test_event_answered_with_410_is_sent_after_enabling(simulation: WebhookSimulation) -> None:
    created = make_endpoint(events=("completed",))
    simulation.endpoints.create(created)
    simulation.receiver.behavior = lambda _: respond(410)
    simulation.complete_job(webhook=None)
    simulation.run_for(1)
    stored = simulation.endpoints.get(TENANT, created.id)
    assert stored is not None
    simulation.receiver.behavior = lambda _: respond(200)
    enable(simulation, stored)
    simulation.run_for(1)
    assert [request.event for request in simulation.receiver.accepted] == ["completed"]
