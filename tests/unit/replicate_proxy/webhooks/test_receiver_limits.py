"""A receiver that is slow or does not respond must not delay the deliveries to others."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

import pytest

from replicate_proxy.webhooks.receiver_limits import calculate_allowed_concurrency
from tests.support.clock import NOW
from tests.support.delivery_pipeline import DeliveryPipeline
from tests.support.webhook_fakes import respond, time_out

UNRESPONSIVE_URL = "https://hangs.example/hook"


def test_unresponsive_receiver_does_not_delay_a_thousand_other_deliveries() -> None:
    """The bad receiver's 200 deliveries come first, and each request to it takes 15 s of a worker."""
    pipeline = DeliveryPipeline(workers=50)
    pipeline.receiver.behavior = lambda request: (
        time_out() if request.url == UNRESPONSIVE_URL else respond(200, duration_seconds=0.05)
    )
    for number in range(200):
        pipeline.complete_job(id=f"bad{number}", webhook=UNRESPONSIVE_URL)
    for number in range(1000):
        pipeline.complete_job(id=f"good{number}", webhook=f"https://app{number % 20}.example/hook")

    pipeline.run_for(60)

    delays = sorted((request.received_at - NOW).total_seconds() for request in pipeline.receiver.accepted)
    assert len(delays) == 1000
    # 1,000 requests of 50 ms on the thirty remaining workers take 1.7 s at best.
    assert delays[500] < 1.5
    assert delays[990] < 5
    unanswered = sum(request.url == UNRESPONSIVE_URL for request in pipeline.receiver.received)
    assert unanswered <= pipeline.settings.max_concurrency + 4


def test_unresponsive_receiver_is_probed_by_one_request_at_a_time() -> None:
    pipeline = DeliveryPipeline(workers=50)
    pipeline.receiver.behavior = lambda _: time_out()
    for number in range(100):
        pipeline.complete_job(id=f"bad{number}", webhook=UNRESPONSIVE_URL)
    pipeline.run_for(30)
    first_requests = len(pipeline.receiver.received)

    pipeline.run_for(3600)

    probes = [request.received_at for request in pipeline.receiver.received[first_requests:]]
    assert len(probes) > 5
    assert all(later - earlier >= timedelta(seconds=15) for earlier, later in pairwise(probes))


def test_all_deliveries_arrive_when_receiver_responds_again() -> None:
    pipeline = DeliveryPipeline(workers=50)
    outage_end = NOW + timedelta(hours=2)
    pipeline.receiver.behavior = lambda request: (
        time_out() if request.received_at < outage_end else respond(200)
    )
    for number in range(100):
        pipeline.complete_job(id=f"job{number}", webhook=UNRESPONSIVE_URL)

    pipeline.run_for(80 * 3600)

    assert len({request.json()["id"] for request in pipeline.receiver.accepted}) == 100


def test_waiting_for_a_slot_does_not_count_as_an_attempt() -> None:
    pipeline = DeliveryPipeline(workers=200)
    pipeline.receiver.behavior = lambda _: respond(200, duration_seconds=10)
    for number in range(60):
        pipeline.complete_job(id=f"job{number}", webhook="https://slow.example/hook")

    pipeline.run_for(120)

    assert len(pipeline.receiver.accepted) == 60
    deliveries = pipeline.deliveries.list_all()
    assert {delivery.total_attempts for delivery in deliveries} == {1}


@pytest.mark.parametrize(("unanswered", "slots"), [(0, 20), (1, 5), (2, 1), (50, 1)])
def test_allowed_concurrency_shrinks_with_each_unanswered_request(unanswered: int, slots: int) -> None:
    assert calculate_allowed_concurrency(unanswered, 20) == slots
