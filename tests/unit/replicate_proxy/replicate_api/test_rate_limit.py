"""The shared rate limit, on a table with DynamoDB's conditions."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from botocore.exceptions import EndpointConnectionError
from hypothesis import given
from hypothesis import strategies as st
from types_boto3_dynamodb import DynamoDBClient

from replicate_proxy.aws.control_table import ControlTable
from replicate_proxy.replicate_api.rate_limit import (
    RateLimit,
    RateLimiter,
    RateLimitRecord,
    TenantRateLimiter,
)
from tests.support.aws import CONTROL_TABLE, make_failing_client
from tests.support.clock import FakeClock
from tests.support.control_table import build_control_table

BuildLimiter = Callable[[], RateLimiter]
LIMIT = RateLimit(per_minute=600, burst=5)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def build_limiter(dynamodb: DynamoDBClient, clock: FakeClock) -> BuildLimiter:
    """Each call builds the limiter of another function over the same record."""
    table = build_control_table(dynamodb)
    return lambda: RateLimiter(table, "creates", LIMIT, clock)


def count_slots(limiter: RateLimiter, attempts: int) -> int:
    return sum(limiter.acquire_slot() == 0 for _ in range(attempts))


def test_burst_gets_slots_up_to_limit(build_limiter: BuildLimiter) -> None:
    assert count_slots(build_limiter(), 20) == 5


def test_functions_share_burst(build_limiter: BuildLimiter) -> None:
    assert sum(count_slots(build_limiter(), 3) for _ in range(4)) == 5


def test_slots_become_free_at_rate(build_limiter: BuildLimiter, clock: FakeClock) -> None:
    limiter = build_limiter()
    count_slots(limiter, 5)
    clock.advance(0.1)
    assert count_slots(limiter, 3) == 1
    clock.advance(0.25)
    assert count_slots(limiter, 5) == 2


def test_several_slots_are_taken_together_or_not_at_all(
    build_limiter: BuildLimiter, clock: FakeClock
) -> None:
    limiter = build_limiter()
    assert limiter.acquire_slot(3) == 0
    assert limiter.acquire_slot(3) == pytest.approx(0.1)
    assert build_limiter().acquire_slot(2) == 0
    assert count_slots(limiter, 3) == 0
    clock.advance(0.31)
    assert build_limiter().acquire_slot(3) == 0
    clock.advance(3600)
    assert limiter.acquire_slot(5) == 0
    assert limiter.acquire_slot(1) > 0


def test_tenants_have_limits_of_their_own(dynamodb: DynamoDBClient, clock: FakeClock) -> None:
    limiter = TenantRateLimiter(build_control_table(dynamodb), "batches", LIMIT, clock)
    assert limiter.acquire_slot("a", 4) == 0
    assert limiter.acquire_slot("a", 4) > 0
    assert limiter.acquire_slot("b", 4) == 0


def test_idle_time_frees_one_burst_only(build_limiter: BuildLimiter, clock: FakeClock) -> None:
    limiter = build_limiter()
    count_slots(limiter, 5)
    clock.advance(3600)
    assert count_slots(limiter, 20) == 5


def test_rejected_caller_finds_slot_at_stated_time(build_limiter: BuildLimiter, clock: FakeClock) -> None:
    limiter = build_limiter()
    count_slots(limiter, 5)
    waits = [build_limiter().acquire_slot() for _ in range(10)]
    assert waits == pytest.approx([0.1 * position for position in range(1, 11)])
    for _ in waits:
        clock.advance(0.1)
        assert limiter.acquire_slot() == 0


def test_reduced_limit_applies_to_all_functions(build_limiter: BuildLimiter, clock: FakeClock) -> None:
    limiter, other = build_limiter(), build_limiter()
    assert limiter.acquire_slot() == 0
    limiter.reduce_limit(6, for_seconds=60)

    assert other.acquire_slot() >= 10, "no call may follow a reduction immediately"
    slots = 0
    for _ in range(60):
        clock.advance(1)
        slots += other.acquire_slot() == 0
    assert slots == 6


def test_usual_limit_applies_after_reduction(build_limiter: BuildLimiter, clock: FakeClock) -> None:
    limiter = build_limiter()
    limiter.reduce_limit(6, for_seconds=30)
    clock.advance(31)
    assert count_slots(build_limiter(), 10) == 5
    assert count_slots(limiter, 10) == 0


def test_wait_is_at_most_the_message_delay(build_limiter: BuildLimiter) -> None:
    limiter = build_limiter()
    limiter.reduce_limit(0.01, for_seconds=10**6)
    assert limiter.acquire_slot() == 900


def test_concurrent_functions_get_no_more_than_burst(build_limiter: BuildLimiter) -> None:
    """Twenty functions, each with a stale cached record."""
    limiters = [build_limiter() for _ in range(20)]
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda limiter: limiter.acquire_slot() == 0, limiters * 3))
    assert sum(results) == 5


def test_call_costs_one_write(build_limiter: BuildLimiter, dynamodb_operations: list[str]) -> None:
    limiter = build_limiter()
    count_slots(limiter, 4)
    assert dynamodb_operations == ["UpdateItem"] * 4


def test_slots_are_free_when_table_is_unavailable(clock: FakeClock) -> None:
    client = make_failing_client(EndpointConnectionError(endpoint_url="https://dynamodb.invalid"))
    limiter = RateLimiter(ControlTable(client, CONTROL_TABLE), "creates", LIMIT, clock)
    assert limiter.acquire_slot() == 0
    limiter.reduce_limit(6, for_seconds=60)


@given(
    per_minute=st.floats(1, 10_000),
    burst=st.integers(1, 1000),
    gaps=st.lists(st.integers(0, 5000), min_size=1, max_size=60),
)
def test_no_window_has_more_than_burst_and_refill(per_minute: float, burst: int, gaps: list[int]) -> None:
    """For any limit and any arrivals."""
    limit = RateLimit(per_minute, burst)
    record, now, served = RateLimitRecord(), 10**12, []
    for gap in gaps:
        now += gap
        if record.calculate_wait_ms(now, limit) == 0:
            record = RateLimitRecord(next_free_at=max(record.next_free_at, now) + limit.interval_ms)
            served.append(now)
    for start in served:
        for end in [moment for moment in served if moment >= start]:
            calls = sum(start <= moment <= end for moment in served)
            assert calls <= burst + (end - start) // limit.interval_ms + 1
