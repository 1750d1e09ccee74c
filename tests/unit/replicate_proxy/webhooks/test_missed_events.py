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
    from tests.support.delivery_pipeline import DeliveryPipeline


@pytest.fixture
def endpoint(pipeline: DeliveryPipeline) -> Endpoint:
    """A disabled endpoint for `completed`."""
    endpoint = make_endpoint(events=("completed",))
    pipeline.endpoints.create(endpoint)
    return pipeline.endpoint_service.update(TENANT, endpoint.id, enabled=False)


def enable(pipeline: DeliveryPipeline, endpoint: Endpoint) -> None:
    """Enable the endpoint as the route does."""
    assert endpoint.missed_since is not None
    enabled = pipeline.endpoint_service.enable(TENANT, endpoint.id)
    pipeline.redelivery.redeliver_missed(enabled, endpoint.missed_since)


def read_endpoint(pipeline: DeliveryPipeline, endpoint: Endpoint) -> Endpoint:
    stored = pipeline.endpoints.get(TENANT, endpoint.id)
    assert stored is not None
    return stored


def read_search(pipeline: DeliveryPipeline, endpoint: Endpoint) -> MissedSearch | None:
    return read_endpoint(pipeline, endpoint).missed_search


def run_before_first[**P, T](function: Callable[P, T], act: Callable[[], object]) -> Callable[P, T]:
    """Return the function, before whose first call `act` runs: what others do in between."""
    pending = [act]

    def call(*arguments: P.args, **options: P.kwargs) -> T:
        if pending:
            pending.pop()()
        return function(*arguments, **options)

    return call


def test_event_stored_while_endpoint_is_enabled_is_sent(
    pipeline: DeliveryPipeline, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = run_before_first(pipeline.deliveries.create, lambda: enable(pipeline, endpoint))
    monkeypatch.setattr(pipeline.deliveries, "create", create)
    pipeline.complete_job(webhook=None)
    pipeline.run_for(1)
    assert [request.event for request in pipeline.receiver.accepted] == ["completed"]


def test_delivery_failed_while_endpoint_is_enabled_is_sent(
    pipeline: DeliveryPipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    created = make_endpoint(events=("completed",))
    pipeline.endpoints.create(created)
    pipeline.complete_job(webhook=None)
    disabled = pipeline.endpoint_service.update(TENANT, created.id, enabled=False)
    save = run_before_first(pipeline.deliveries.save, lambda: enable(pipeline, disabled))
    monkeypatch.setattr(pipeline.deliveries, "save", save)
    pipeline.run_for(1)
    assert [request.event for request in pipeline.receiver.accepted] == ["completed"]


def test_failure_written_after_search_is_found_by_next_search(
    pipeline: DeliveryPipeline, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process that wrote it ends before it reads the endpoint again."""
    monkeypatch.setattr(pipeline.notifier, "_restart_missed", lambda _deliveries, _now: [])
    create = run_before_first(pipeline.deliveries.create, lambda: enable(pipeline, endpoint))
    monkeypatch.setattr(pipeline.deliveries, "create", create)
    job = pipeline.complete_job(webhook=None)
    pipeline.redelivery.continue_missed_search(TENANT, endpoint.id)
    (delivery,) = pipeline.deliveries.list_by_job(TENANT, job.id)
    assert delivery.status is DeliveryStatus.FAILED
    pipeline.clock.advance(minutes=2)
    pipeline.redelivery.continue_missed_search(TENANT, endpoint.id)
    pipeline.run_for(1)
    assert [request.event for request in pipeline.receiver.accepted] == ["completed"]
    assert read_search(pipeline, endpoint) is None


def test_search_goes_on_where_the_last_one_stopped(
    pipeline: DeliveryPipeline, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redelivery, "_PAGE_SIZE", 1)
    monkeypatch.setattr(redelivery, "_MAX_PAGES", 1)
    for number in range(3):
        pipeline.complete_job(id=f"job{number}", webhook=None)
    pipeline.endpoint_service.enable(TENANT, endpoint.id)
    pipeline.clock.advance(minutes=2)
    runs = 0
    while read_search(pipeline, endpoint) is not None:
        pipeline.redelivery.continue_missed_search(TENANT, endpoint.id)
        runs += 1
    pipeline.run_for(1)
    assert runs == 4  # the last page is empty: only that says that there are no more
    assert len(pipeline.receiver.accepted) == 3


def test_endpoint_disabled_again_is_not_searched(pipeline: DeliveryPipeline, endpoint: Endpoint) -> None:
    pipeline.complete_job(webhook=None)
    pipeline.endpoint_service.enable(TENANT, endpoint.id)
    pipeline.endpoint_service.update(TENANT, endpoint.id, enabled=False)
    pipeline.clock.advance(minutes=2)
    pipeline.redelivery.continue_missed_search(TENANT, endpoint.id)
    pipeline.run_for(1)
    assert not pipeline.receiver.received
    assert read_search(pipeline, endpoint) is None


def test_enabling_without_redelivery_searches_nothing(pipeline: DeliveryPipeline, endpoint: Endpoint) -> None:
    pipeline.endpoint_service.enable(TENANT, endpoint.id, searches_missed=False)
    assert read_search(pipeline, endpoint) is None


def test_event_answered_with_410_is_sent_after_enabling(pipeline: DeliveryPipeline) -> None:
    created = make_endpoint(events=("completed",))
    pipeline.endpoints.create(created)
    pipeline.receiver.behavior = lambda _: respond(410)
    pipeline.complete_job(webhook=None)
    pipeline.run_for(1)
    stored = pipeline.endpoints.get(TENANT, created.id)
    assert stored is not None
    pipeline.receiver.behavior = lambda _: respond(200)
    enable(pipeline, stored)
    pipeline.run_for(1)
    assert [request.event for request in pipeline.receiver.accepted] == ["completed"]


def test_event_waiting_after_failed_attempts_is_sent_at_enabling(pipeline: DeliveryPipeline) -> None:
    """It was pending all the time, and its next attempt would be hours later."""
    created = make_endpoint(events=("completed",))
    pipeline.endpoints.create(created)
    pipeline.receiver.behavior = lambda _: respond(500)
    job = pipeline.complete_job(webhook=None)
    pipeline.run_for(4 * 3600)
    disabled = pipeline.endpoint_service.update(TENANT, created.id, enabled=False)
    pipeline.run_for(60)
    (delivery,) = pipeline.deliveries.list_by_job(TENANT, job.id)
    assert delivery.is_pending
    pipeline.receiver.behavior = lambda _: respond(200)
    enable(pipeline, disabled)
    pipeline.run_for(1)
    assert [request.event for request in pipeline.receiver.accepted] == ["completed"]


def test_event_rejected_after_enabling_keeps_its_schedule(pipeline: DeliveryPipeline) -> None:
    """The sweep's search leaves alone what was sent again at the enabling."""
    created = make_endpoint(events=("completed",))
    pipeline.endpoints.create(created)
    pipeline.receiver.behavior = lambda _: respond(500)
    job = pipeline.complete_job(webhook=None)
    pipeline.run_for(60)
    enable(pipeline, pipeline.endpoint_service.update(TENANT, created.id, enabled=False))
    pipeline.run_for(119)
    (before,) = pipeline.deliveries.list_by_job(TENANT, job.id)
    pipeline.clock.advance(seconds=1)
    pipeline.redelivery.continue_missed_search(TENANT, created.id)
    assert read_search(pipeline, created) is None
    assert pipeline.deliveries.list_by_job(TENANT, job.id) == [before]
    assert before.is_pending
    assert before.schedule_attempts > 0


@pytest.mark.parametrize("is_swept_while_disabled", [True, False])
def test_event_missed_before_second_disabling_is_sent(
    pipeline: DeliveryPipeline, *, is_swept_while_disabled: bool
) -> None:
    """The receiver answers what is sent after the first enabling with 410 again, a week later."""
    created = make_endpoint(events=("completed",))
    pipeline.endpoints.create(created)
    pipeline.receiver.behavior = lambda _: respond(410)
    for number in range(3):
        pipeline.complete_job(id=f"job{number}", webhook=None)
        pipeline.run_for(60)
    pipeline.run_for(8 * 86_400)
    enable(pipeline, read_endpoint(pipeline, created))
    pipeline.run_for(300)
    assert not read_endpoint(pipeline, created).is_enabled
    if is_swept_while_disabled:
        pipeline.redelivery.continue_missed_search(TENANT, created.id)
        assert read_search(pipeline, created) is None
    pipeline.receiver.behavior = lambda _: respond(200)
    enable(pipeline, read_endpoint(pipeline, created))
    pipeline.run_for(1)
    assert [request.json()["id"] for request in pipeline.receiver.accepted] == ["job0", "job1", "job2"]


@pytest.mark.parametrize("route", ["enable", "update"])
def test_event_skipped_at_enabling_is_not_sent_after_next_outage(
    pipeline: DeliveryPipeline, endpoint: Endpoint, route: str
) -> None:
    pipeline.complete_job(id="skipped", webhook=None)
    pipeline.run_for(3600)
    if route == "enable":
        pipeline.endpoint_service.enable(TENANT, endpoint.id, searches_missed=False)
    else:
        pipeline.endpoint_service.update(TENANT, endpoint.id, enabled=True)
    pipeline.run_for(3600)
    disabled = pipeline.endpoint_service.update(TENANT, endpoint.id, enabled=False)
    pipeline.complete_job(id="missed", webhook=None)
    pipeline.run_for(600)
    enable(pipeline, disabled)
    pipeline.clock.advance(minutes=2)
    pipeline.redelivery.continue_missed_search(TENANT, endpoint.id)
    pipeline.run_for(1)
    assert [request.json()["id"] for request in pipeline.receiver.accepted] == ["missed"]


def test_event_skipped_after_search_was_interrupted_is_not_sent(
    pipeline: DeliveryPipeline, endpoint: Endpoint
) -> None:
    pipeline.complete_job(webhook=None)
    pipeline.endpoint_service.enable(TENANT, endpoint.id)
    pipeline.endpoint_service.update(TENANT, endpoint.id, enabled=False)
    pipeline.endpoint_service.enable(TENANT, endpoint.id, searches_missed=False)
    assert read_search(pipeline, endpoint) is None
    enabled = pipeline.endpoint_service.update(TENANT, endpoint.id, enabled=False)
    assert enabled.missed_since == enabled.disabled_at


def test_enabling_an_enabled_endpoint_keeps_its_search(
    pipeline: DeliveryPipeline, endpoint: Endpoint
) -> None:
    pipeline.endpoint_service.enable(TENANT, endpoint.id)
    search = read_search(pipeline, endpoint)
    pipeline.endpoint_service.update(TENANT, endpoint.id, enabled=True)
    pipeline.endpoint_service.enable(TENANT, endpoint.id, searches_missed=False)
    assert search is not None
    assert read_search(pipeline, endpoint) == search
