"""Waiting for a job: how long, and how many requests at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import timedelta

import pytest
from moto import mock_aws

from replicate_proxy.aws.control_table import ControlTable
from replicate_proxy.aws.wait_limiter import ControlTableWaitLimiter
from replicate_proxy.jobs.model import JobStatus
from replicate_proxy.services.wait import JobWaiter
from tests.support.aws import CONTROL_TABLE, create_control_table
from tests.support.builders import make_job
from tests.support.clock import NOW, FakeClock
from tests.support.job_stores import InMemoryJobStore

MAX_WAITING = 5
MAX_PER_TENANT = 3


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def limiter(clock: FakeClock) -> Iterator[ControlTableWaitLimiter]:
    with mock_aws():
        table = ControlTable(create_control_table(), CONTROL_TABLE)
        yield ControlTableWaitLimiter(table, clock, MAX_WAITING, MAX_PER_TENANT)


def build_waiter(
    clock: FakeClock, *, max_wait_seconds: float = 25, api_timeout_seconds: float = 29
) -> JobWaiter:
    return JobWaiter(InMemoryJobStore(), clock, clock.sleep, max_wait_seconds, api_timeout_seconds)


def measure_wait(clock: FakeClock, waiter: JobWaiter, timeout_seconds: float, *, age_seconds: float) -> float:
    """Return the seconds that the waiter waits for a job that does not finish, in a request of that age."""
    started_at = clock.now()
    received_at = started_at - timedelta(seconds=age_seconds)
    assert waiter.wait_until_final(make_job(), timeout_seconds, received_at=received_at) is not None
    return (clock.now() - started_at).total_seconds()


@pytest.mark.parametrize(
    ("timeout_seconds", "age_seconds", "waited_seconds"),
    [
        (5, 0, 5),
        (60, 0, 25),
        (60, 1, 25),
        (60, 6, 21),  # a cold start of 6 s leaves 29 - 6 - 2
        (60, 20, 7),
        (5, 0.7, 4.3),
        (5, 20, 0),
        (60, 27, 0),
        (60, 28.5, 0),
        (60, 3600, 25),  # the event of an old request, sent again
        (60, -5, 25),  # a clock that is behind
    ],
)
def test_wait_ends_before_the_api_ends_the_request(
    clock: FakeClock, timeout_seconds: float, age_seconds: float, waited_seconds: float
) -> None:
    waited = measure_wait(clock, build_waiter(clock), timeout_seconds, age_seconds=age_seconds)
    assert waited == pytest.approx(waited_seconds)


def test_wait_goes_on_after_a_read_that_fails(clock: FakeClock) -> None:
    """The request has been accepted: an error would make its caller repeat it."""
    store, queued = InMemoryJobStore(), make_job(JobStatus.QUEUED)
    store.put(replace(queued, status=JobStatus.SUCCEEDED))
    store.faults.fail("get")

    waited = JobWaiter(store, clock, clock.sleep, 25).wait_until_final(queued, 5)

    assert waited is not None
    assert waited.status is JobStatus.SUCCEEDED


def test_wait_can_be_longer_where_the_api_allows_it(clock: FakeClock) -> None:
    waiter = build_waiter(clock, max_wait_seconds=58, api_timeout_seconds=60)
    assert measure_wait(clock, waiter, 60, age_seconds=0.5) == pytest.approx(57.5)


@contextmanager
def hold_places(limiter: ControlTableWaitLimiter, *tenants: str) -> Iterator[list[bool]]:
    """Hold a place for each of the tenants; yield which of them were free."""
    with ExitStack() as places:
        yield [places.enter_context(limiter.hold_place(tenant)) for tenant in tenants]


def test_places_of_one_tenant_are_bounded(limiter: ControlTableWaitLimiter) -> None:
    with hold_places(limiter, "a", "a", "a", "a", "b") as held:
        assert held == [True, True, True, False, True]


def test_places_of_all_tenants_are_bounded(limiter: ControlTableWaitLimiter) -> None:
    with hold_places(limiter, "a", "a", "b", "b", "c", "d", "e") as held:
        assert held == [True] * 5 + [False] * 2


def test_released_place_is_free_again(limiter: ControlTableWaitLimiter) -> None:
    for _ in range(20):
        with hold_places(limiter, "a", "a", "a", "a") as held:
            assert held == [True, True, True, False]


def test_place_is_released_when_the_wait_fails(limiter: ControlTableWaitLimiter) -> None:
    for _ in range(10):
        with pytest.raises(ZeroDivisionError), limiter.hold_place("a"):
            raise ZeroDivisionError
    with limiter.hold_place("a") as has_place:
        assert has_place


def test_place_of_crashed_process_becomes_free(limiter: ControlTableWaitLimiter, clock: FakeClock) -> None:
    places = [limiter.hold_place("a") for _ in range(3)]
    assert all(place.__enter__() for place in places)
    clock.advance(300)
    with limiter.hold_place("a") as has_place:
        assert has_place


def test_job_is_not_waited_for_without_a_place(clock: FakeClock, limiter: ControlTableWaitLimiter) -> None:
    waiter = replace(build_waiter(clock), limiter=limiter)
    job = make_job()
    with hold_places(limiter, *[job.tenant] * MAX_PER_TENANT):
        assert waiter.wait_until_final(job, 10) is None
    assert clock.now() == NOW
    assert waiter.wait_until_final(job, 10) == job


def test_final_job_takes_no_place(clock: FakeClock, limiter: ControlTableWaitLimiter) -> None:
    job = make_job(JobStatus.SUCCEEDED)
    with hold_places(limiter, *[job.tenant] * MAX_PER_TENANT):
        assert replace(build_waiter(clock), limiter=limiter).wait_until_final(job, 10) == job
