"""One rate for all functions, on a table with DynamoDB's conditions."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError
from hypothesis import given
from hypothesis import strategies as st

from replicate_proxy.aws.control_table import ControlTable
from replicate_proxy.replicate_api.rate_limit import RateLimit, RateLimiter, RateLimitRecord
from tests.support.clock import FakeClock
from tests.support.control_table import TABLE, SerializedDynamoDb

Limiters = Callable[[], RateLimiter]
PACE = RateLimit(per_minute=600, burst=5)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def limiter(dynamodb: Any, clock: FakeClock) -> Limiters:
    """Each call makes another function's limiter over the same record."""
    table = ControlTable(SerializedDynamoDb(dynamodb), TABLE)
    return lambda: RateLimiter(table, "creates", PACE, clock)


def takes(limiter: RateLimiter, tries: int) -> int:
    return sum(limiter.acquire_slot() == 0 for _ in range(tries))


def test_a_burst_passes_and_no_more(limiter: Limiters) -> None:
    assert takes(limiter(), 20) == 5


def test_functions_share_the_burst(limiter: Limiters) -> None:
    assert sum(takes(limiter(), 3) for _ in range(4)) == 5


def test_places_come_back_at_the_stated_rate(limiter: Limiters, clock: FakeClock) -> None:
    one = limiter()
    takes(one, 5)
    clock.advance(0.1)
    assert takes(one, 3) == 1
    clock.advance(0.25)
    assert takes(one, 5) == 2


def test_a_long_rest_gives_a_burst_and_not_more(limiter: Limiters, clock: FakeClock) -> None:
    one = limiter()
    takes(one, 5)
    clock.advance(3600)
    assert takes(one, 20) == 5


def test_whoever_comes_back_when_told_finds_a_place(limiter: Limiters, clock: FakeClock) -> None:
    one = limiter()
    takes(one, 5)
    waits = [limiter().acquire_slot() for _ in range(10)]
    assert waits == pytest.approx([0.1 * place for place in range(1, 11)])
    for _ in waits:
        clock.advance(0.1)
        assert one.acquire_slot() == 0


def test_slowed_down_for_everybody(limiter: Limiters, clock: FakeClock) -> None:
    one, other = limiter(), limiter()
    assert one.acquire_slot() == 0
    one.reduce_limit(6, for_seconds=60)

    assert other.acquire_slot() >= 10, "the answer to 'slow down' is not another call at once"
    passed = 0
    for _ in range(60):
        clock.advance(1)
        passed += other.acquire_slot() == 0
    assert passed == 6


def test_back_to_the_usual_pace_afterwards(limiter: Limiters, clock: FakeClock) -> None:
    one = limiter()
    one.reduce_limit(6, for_seconds=30)
    clock.advance(31)
    assert takes(limiter(), 10) == 5
    assert takes(one, 10) == 0


def test_nobody_is_sent_away_for_longer_than_a_queue_can_delay(limiter: Limiters) -> None:
    one = limiter()
    one.reduce_limit(0.01, for_seconds=10**6)
    assert one.acquire_slot() == 900


def test_a_burst_from_many_functions_at_once(limiter: Limiters) -> None:
    """Twenty functions, each with its own outdated picture, never get more than there is."""
    ours = [limiter() for _ in range(20)]
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda one: one.acquire_slot() == 0, ours * 3))
    assert sum(got) == 5


def test_a_call_costs_one_write(limiter: Limiters, counted: list[str]) -> None:
    one = limiter()
    takes(one, 4)
    assert counted == ["UpdateItem"] * 4


def test_work_goes_on_when_the_table_cannot_be_reached(clock: FakeClock) -> None:
    class Unreachable:
        def update_item(self, **_: object) -> None:
            raise EndpointConnectionError(endpoint_url="https://dynamodb.invalid")

    limiter = RateLimiter(ControlTable(Unreachable(), TABLE), "creates", PACE, clock)
    assert limiter.acquire_slot() == 0
    limiter.reduce_limit(6, for_seconds=60)


@given(
    per_minute=st.floats(1, 10_000),
    burst=st.integers(1, 1000),
    gaps=st.lists(st.integers(0, 5000), min_size=1, max_size=60),
)
def test_in_no_window_more_than_a_burst_and_the_refill(
    per_minute: float, burst: int, gaps: list[int]
) -> None:
    """The promise of the arithmetic itself, for any pace and any arrivals."""
    pace = RateLimit(per_minute, burst)
    bucket, now, served = RateLimitRecord(), 10**12, []
    for gap in gaps:
        now += gap
        if bucket.wait_ms(now, pace) == 0:
            bucket = RateLimitRecord(next_free_at=max(bucket.next_free_at, now) + pace.interval_ms)
            served.append(now)
    for start in served:
        for end in [moment for moment in served if moment >= start]:
            within = sum(start <= moment <= end for moment in served)
            assert within <= burst + (end - start) // pace.interval_ms + 1
