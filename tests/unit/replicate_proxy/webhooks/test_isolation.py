"""One receiver that hangs, dies or crawls, and everybody else."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

import pytest

from replicate_proxy.webhooks.model import DeliveryStatus
from replicate_proxy.webhooks.receiver_limits import allowed_concurrency
from tests.support.clock import NOW
from tests.support.webhook_builders import TENANT, as_succeeded, make_endpoint, make_job
from tests.support.webhook_fakes import respond, time_out
from tests.support.webhook_simulation import WebhookSimulation

BAD = "https://hangs.example/hook"


def tell(world: WebhookSimulation, name: str, hook: str) -> None:
    job = make_job(id=name, webhook=hook, webhook_events=("completed",))
    assert world.apply_changes((job, as_succeeded(job))) is None


def test_a_thousand_deliveries_are_not_delayed_by_an_endpoint_that_hangs() -> None:
    """Fifty workers; the bad receiver's 200 deliveries come first, and each request to it lasts 15 s."""
    world = WebhookSimulation(workers=50)
    world.receiver.behavior = lambda request: (
        time_out() if request.url == BAD else respond(200, duration_seconds=0.05)
    )
    for number in range(200):
        tell(world, f"bad{number}", BAD)
    for number in range(1000):
        tell(world, f"good{number}", f"https://app{number % 20}.example/hook")

    world.run_for(60)

    delays = sorted((request.received_at - NOW).total_seconds() for request in world.receiver.accepted)
    assert len(delays) == 1000
    # 1,000 requests of 50 ms on the thirty workers that are left take 1.7 s at best.
    assert delays[500] < 1.5
    assert delays[990] < 5
    under_way = sum(request.url == BAD for request in world.receiver.received)
    assert under_way <= world.settings.max_concurrency + 4


def test_a_hanging_endpoint_is_probed_by_one_request_at_a_time() -> None:
    world = WebhookSimulation(workers=50)
    world.receiver.behavior = lambda _: time_out()
    for number in range(100):
        tell(world, f"bad{number}", BAD)
    world.run_for(30)
    before = len(world.receiver.received)

    world.run_for(300)

    probes = [request.received_at for request in world.receiver.received[before:]]
    assert all(later - sooner >= timedelta(seconds=15) for sooner, later in pairwise(probes))


def test_everything_arrives_once_the_endpoint_is_back() -> None:
    world = WebhookSimulation(workers=50)
    back = NOW + timedelta(hours=2)
    world.receiver.behavior = lambda request: time_out() if request.received_at < back else respond(200)
    for number in range(100):
        tell(world, f"job{number}", BAD)

    world.run_for(80 * 3600)

    assert len({request.json()["id"] for request in world.receiver.accepted}) == 100


def test_waiting_for_a_slot_spends_no_try() -> None:
    world = WebhookSimulation(workers=200)
    world.receiver.behavior = lambda _: respond(200, duration_seconds=10)
    for number in range(60):
        tell(world, f"job{number}", "https://slow.example/hook")

    world.run_for(120)

    assert len(world.receiver.accepted) == 60
    assert {each.total_attempts for each in world.deliveries.deliveries.values()} == {1}


@pytest.mark.parametrize(("hangs", "slots"), [(0, 20), (1, 5), (2, 1), (50, 1)])
def test_slots_shrink_with_every_hang(hangs: int, slots: int) -> None:
    assert allowed_concurrency(hangs, 20) == slots


def test_410_disables_the_endpoint_and_says_so(world: WebhookSimulation) -> None:
    endpoint = make_endpoint()
    world.endpoints.create(endpoint)
    world.receiver.behavior = lambda _: respond(410)
    job = make_job(webhook=None)
    world.apply_changes((job, as_succeeded(job)))
    world.run_for(3600)

    stored = world.endpoints.get(TENANT, endpoint.id)
    assert stored is not None
    assert (stored.is_enabled, stored.disabled_reason) == (False, "gone")
    assert len(world.receiver.received) == 1
    told = [event.data["reason"] for event in world.bus.published if event.name == "EndpointDisabled"]
    assert told == ["gone"]
    assert {each.status for each in world.deliveries.list_by_job(TENANT, job.id)} == {DeliveryStatus.FAILED}


@pytest.mark.parametrize(
    ("header", "reason"), [("disable", "requested_by_receiver"), ("abort-message", None)]
)
def test_a_receiver_may_ask_to_be_left_alone(
    world: WebhookSimulation, header: str, reason: str | None
) -> None:
    endpoint = make_endpoint(events=("completed",))
    world.endpoints.create(endpoint)
    world.receiver.behavior = lambda _: respond(503, {"Webhook-Delivery": header})
    job = make_job(webhook=None)
    world.apply_changes((job, as_succeeded(job)))
    world.run_for(3600)

    assert len(world.receiver.received) == 1
    stored = world.endpoints.get(TENANT, endpoint.id)
    assert stored is not None
    assert stored.disabled_reason == reason


def test_a_hundred_failures_in_a_row_over_an_hour_disable_an_endpoint(world: WebhookSimulation) -> None:
    endpoint = make_endpoint(events=("completed",))
    world.endpoints.create(endpoint)
    world.receiver.behavior = lambda _: respond(500)
    for number in range(60):
        job = make_job(id=f"job{number:02}", webhook=None)
        world.apply_changes((job, as_succeeded(job)))
    world.run_for(1800)
    stored = world.endpoints.get(TENANT, endpoint.id)
    assert stored is not None
    assert stored.is_enabled  # 180 failures, but within minutes: a receiver that is being restarted

    world.run_for(3 * 3600)

    stored = world.endpoints.get(TENANT, endpoint.id)
    assert stored is not None
    assert stored.disabled_reason == "too_many_consecutive_failures"


def test_five_days_of_failure_disable_an_endpoint(world: WebhookSimulation) -> None:
    endpoint = make_endpoint(events=("completed",))
    world.endpoints.create(endpoint)
    world.receiver.behavior = lambda _: respond(500)
    for day in range(6):
        job = make_job(id=f"job{day}", webhook=None)
        world.apply_changes((job, as_succeeded(job)))
        world.run_for(23 * 3600)

    stored = world.endpoints.get(TENANT, endpoint.id)
    assert stored is not None
    assert stored.disabled_reason == "failing_too_long"


def test_one_success_resets_the_count(world: WebhookSimulation) -> None:
    endpoint = make_endpoint(events=("completed",))
    world.endpoints.create(endpoint)
    numbers = iter(range(1_000_000))
    world.receiver.behavior = lambda _: respond(200 if next(numbers) % 50 == 49 else 500)
    for number in range(60):
        job = make_job(id=f"job{number:02}", webhook=None)
        world.apply_changes((job, as_succeeded(job)))
    world.run_for(24 * 3600)

    stored = world.endpoints.get(TENANT, endpoint.id)
    assert stored is not None
    assert stored.is_enabled


def test_events_for_a_disabled_endpoint_are_kept_for_later(world: WebhookSimulation) -> None:
    endpoint = make_endpoint(events=("completed",))
    world.endpoints.create(endpoint)
    world.receiver.behavior = lambda _: respond(410)
    for number in range(3):
        job = make_job(id=f"job{number}", webhook=None)
        world.apply_changes((job, as_succeeded(job)))
        world.run_for(10)

    assert len(world.receiver.received) == 1
    kept = [
        each for each in world.deliveries.deliveries.values() if each.failure_reason == "endpoint_disabled"
    ]
    assert len(kept) == 2


def test_a_predictions_own_webhook_is_never_switched_off(world: WebhookSimulation) -> None:
    world.receiver.behavior = lambda _: respond(410)
    tell(world, "first", BAD)
    world.run_for(10)
    world.receiver.behavior = lambda _: respond(200)
    tell(world, "second", BAD)
    world.run_for(10)

    assert [request.json()["id"] for request in world.receiver.accepted] == ["second"]
