"""One receiver that hangs, dies or crawls, and everybody else."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

import pytest

from replicate_proxy.webhooks.model import DeliveryStatus
from replicate_proxy.webhooks.receiver_limits import slots_after
from tests.support.clock import NOW
from tests.support.deliveries import TENANT, World, answered, hanging, make_endpoint, make_job, succeeded

BAD = "https://hangs.example/hook"


def tell(world: World, name: str, hook: str) -> None:
    job = make_job(id=name, webhook=hook, webhook_events=("completed",))
    assert world.happen((job, succeeded(job))) is None


def test_a_thousand_deliveries_are_not_delayed_by_an_endpoint_that_hangs() -> None:
    """Fifty workers; the bad receiver's 200 deliveries come first, and each request to it lasts 15 s."""
    world = World(workers=50)
    world.receiver.behave = lambda request: hanging() if request.url == BAD else answered(200, duration=0.05)
    for number in range(200):
        tell(world, f"bad{number}", BAD)
    for number in range(1000):
        tell(world, f"good{number}", f"https://app{number % 20}.example/hook")

    world.run(60)

    delays = sorted((request.at - NOW).total_seconds() for request in world.receiver.taken)
    assert len(delays) == 1000
    # 1,000 requests of 50 ms on the thirty workers that are left take 1.7 s at best.
    assert delays[500] < 1.5
    assert delays[990] < 5
    under_way = sum(request.url == BAD for request in world.receiver.received)
    assert under_way <= world.settings.lane_slots + 4


def test_a_hanging_endpoint_is_probed_by_one_request_at_a_time() -> None:
    world = World(workers=50)
    world.receiver.behave = lambda _: hanging()
    for number in range(100):
        tell(world, f"bad{number}", BAD)
    world.run(30)
    before = len(world.receiver.received)

    world.run(300)

    probes = [request.at for request in world.receiver.received[before:]]
    assert all(later - sooner >= timedelta(seconds=15) for sooner, later in pairwise(probes))


def test_everything_arrives_once_the_endpoint_is_back() -> None:
    world = World(workers=50)
    back = NOW + timedelta(hours=2)
    world.receiver.behave = lambda request: hanging() if request.at < back else answered(200)
    for number in range(100):
        tell(world, f"job{number}", BAD)

    world.run(80 * 3600)

    assert len({request.json()["id"] for request in world.receiver.taken}) == 100


def test_waiting_for_a_slot_spends_no_try() -> None:
    world = World(workers=200)
    world.receiver.behave = lambda _: answered(200, duration=10)
    for number in range(60):
        tell(world, f"job{number}", "https://slow.example/hook")

    world.run(120)

    assert len(world.receiver.taken) == 60
    assert {each.attempts for each in world.outbox.deliveries.values()} == {1}


@pytest.mark.parametrize(("hangs", "slots"), [(0, 20), (1, 5), (2, 1), (50, 1)])
def test_slots_shrink_with_every_hang(hangs: int, slots: int) -> None:
    assert slots_after(hangs, 20) == slots


def test_410_disables_the_endpoint_and_says_so(world: World) -> None:
    endpoint = make_endpoint()
    world.endpoints.create(endpoint)
    world.receiver.behave = lambda _: answered(410)
    job = make_job(webhook=None)
    world.happen((job, succeeded(job)))
    world.run(3600)

    stored = world.endpoints.get(TENANT, endpoint.id)
    assert stored is not None
    assert (stored.is_enabled, stored.disabled_reason) == (False, "gone")
    assert len(world.receiver.received) == 1
    told = [event.data["reason"] for event in world.bus.events if event.name == "EndpointDisabled"]
    assert told == ["gone"]
    assert {each.status for each in world.outbox.of_job(TENANT, job.id)} == {DeliveryStatus.FAILED}


@pytest.mark.parametrize(("header", "reason"), [("disable", "asked_by_receiver"), ("abort-message", None)])
def test_a_receiver_may_ask_to_be_left_alone(world: World, header: str, reason: str | None) -> None:
    endpoint = make_endpoint(events=("completed",))
    world.endpoints.create(endpoint)
    world.receiver.behave = lambda _: answered(503, {"Webhook-Delivery": header})
    job = make_job(webhook=None)
    world.happen((job, succeeded(job)))
    world.run(3600)

    assert len(world.receiver.received) == 1
    stored = world.endpoints.get(TENANT, endpoint.id)
    assert stored is not None
    assert stored.disabled_reason == reason


def test_a_hundred_failures_in_a_row_over_an_hour_disable_an_endpoint(world: World) -> None:
    endpoint = make_endpoint(events=("completed",))
    world.endpoints.create(endpoint)
    world.receiver.behave = lambda _: answered(500)
    for number in range(60):
        job = make_job(id=f"job{number:02}", webhook=None)
        world.happen((job, succeeded(job)))
    world.run(1800)
    stored = world.endpoints.get(TENANT, endpoint.id)
    assert stored is not None
    assert stored.is_enabled  # 180 failures, but within minutes: a receiver that is being restarted

    world.run(3 * 3600)

    stored = world.endpoints.get(TENANT, endpoint.id)
    assert stored is not None
    assert stored.disabled_reason == "too_many_failures_in_a_row"


def test_five_days_of_failure_disable_an_endpoint(world: World) -> None:
    endpoint = make_endpoint(events=("completed",))
    world.endpoints.create(endpoint)
    world.receiver.behave = lambda _: answered(500)
    for day in range(6):
        job = make_job(id=f"job{day}", webhook=None)
        world.happen((job, succeeded(job)))
        world.run(23 * 3600)

    stored = world.endpoints.get(TENANT, endpoint.id)
    assert stored is not None
    assert stored.disabled_reason == "failing_too_long"


def test_one_success_resets_the_count(world: World) -> None:
    endpoint = make_endpoint(events=("completed",))
    world.endpoints.create(endpoint)
    numbers = iter(range(1_000_000))
    world.receiver.behave = lambda _: answered(200 if next(numbers) % 50 == 49 else 500)
    for number in range(60):
        job = make_job(id=f"job{number:02}", webhook=None)
        world.happen((job, succeeded(job)))
    world.run(24 * 3600)

    stored = world.endpoints.get(TENANT, endpoint.id)
    assert stored is not None
    assert stored.is_enabled


def test_events_for_a_disabled_endpoint_are_kept_for_later(world: World) -> None:
    endpoint = make_endpoint(events=("completed",))
    world.endpoints.create(endpoint)
    world.receiver.behave = lambda _: answered(410)
    for number in range(3):
        job = make_job(id=f"job{number}", webhook=None)
        world.happen((job, succeeded(job)))
        world.run(10)

    assert len(world.receiver.received) == 1
    kept = [each for each in world.outbox.deliveries.values() if each.ending == "endpoint_disabled"]
    assert len(kept) == 2


def test_a_predictions_own_webhook_is_never_switched_off(world: World) -> None:
    world.receiver.behave = lambda _: answered(410)
    tell(world, "first", BAD)
    world.run(10)
    world.receiver.behave = lambda _: answered(200)
    tell(world, "second", BAD)
    world.run(10)

    assert [request.json()["id"] for request in world.receiver.taken] == ["second"]
