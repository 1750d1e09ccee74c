"""The shared circuit breaker. Each `CircuitBreaker` here belongs to another function."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import timedelta

import pytest
from botocore.exceptions import EndpointConnectionError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from types_boto3_dynamodb import DynamoDBClient

from replicate_proxy.aws.control_table import ControlTable
from replicate_proxy.errors import RetryableError
from replicate_proxy.jobs.model import SHARED_ACCOUNT, Account
from replicate_proxy.replicate_api.circuit_breaker import BreakerSettings, CircuitBreaker
from replicate_proxy.replicate_api.errors import (
    BreakerOpenError,
    NotAcceptedError,
    OutcomeUnknownError,
    RejectedError,
    ThrottledError,
    TokenRejectedError,
    TokenUnavailableError,
    UnexpectedResponseError,
    UpstreamUnavailableError,
)
from tests.support.aws import CONTROL_TABLE, make_failing_client
from tests.support.clock import FakeClock
from tests.support.control_table import build_control_table

BuildBreaker = Callable[[], CircuitBreaker]
SETTINGS = BreakerSettings(failure_threshold=3, open_seconds=30, probe_lease_seconds=60, cache_seconds=0)

OUTAGES: list[Exception] = [
    NotAcceptedError("refused"),
    OutcomeUnknownError("503"),
    UpstreamUnavailableError("timeout"),
]
NOT_OUTAGES: list[Exception] = [
    RejectedError(422, "Invalid", "no"),
    ThrottledError("429", retry_after=5),
    TokenRejectedError("401"),
    UnexpectedResponseError("unknown status"),
]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def build_breaker(dynamodb: DynamoDBClient, clock: FakeClock) -> BuildBreaker:
    table = build_control_table(dynamodb)
    return lambda: CircuitBreaker(table, clock, SETTINGS)


def build_failing_call(error: Exception) -> Callable[[], str]:
    def call() -> str:
        raise error

    return call


def fail(breaker: CircuitBreaker, error: Exception, times: int = 1) -> None:
    for _ in range(times):
        with pytest.raises(type(error)):
            breaker.call(build_failing_call(error))


def succeed() -> str:
    return "result"


@pytest.mark.parametrize("error", OUTAGES, ids=lambda error: type(error).__name__)
def test_breaker_opens_for_all_functions_after_consecutive_outages(
    build_breaker: BuildBreaker, error: Exception
) -> None:
    fail(build_breaker(), error, 3)
    with pytest.raises(BreakerOpenError) as caught:
        build_breaker().call(succeed)
    assert caught.value.retry_after == pytest.approx(30)
    status = build_breaker().read_status()
    assert (status.state, status.opened_by) == ("open", type(error).__name__)


def test_call_that_opens_breaker_raises_its_own_error(build_breaker: BuildBreaker) -> None:
    """With the breaker's error instead, a create of unknown outcome would be sent again and paid twice."""
    breaker = build_breaker()
    fail(breaker, UpstreamUnavailableError("x"), 2)
    with pytest.raises(OutcomeUnknownError):
        breaker.call(build_failing_call(OutcomeUnknownError("sent, no answer")))
    with pytest.raises(BreakerOpenError):
        breaker.raise_if_open()


def test_failed_probe_raises_its_own_error(build_breaker: BuildBreaker, clock: FakeClock) -> None:
    breaker = build_breaker()
    fail(breaker, UpstreamUnavailableError("x"), 3)
    clock.advance(31)
    with pytest.raises(OutcomeUnknownError):
        breaker.call(build_failing_call(OutcomeUnknownError("sent, no answer")))


@pytest.mark.parametrize("error", NOT_OUTAGES, ids=lambda error: type(error).__name__)
def test_any_response_resets_failures(build_breaker: BuildBreaker, error: Exception) -> None:
    breaker = build_breaker()
    fail(breaker, error, 10)
    assert breaker.call(succeed) == "result"
    assert breaker.read_status().failures == 0


def test_breaker_stays_closed_when_our_token_cannot_be_read(build_breaker: BuildBreaker) -> None:
    breaker = build_breaker()
    fail(breaker, TokenUnavailableError("throttled by SSM"), 10)
    assert breaker.call(succeed) == "result"


def test_success_resets_failures_of_other_functions(build_breaker: BuildBreaker) -> None:
    breaker, other = build_breaker(), build_breaker()
    for _ in range(5):
        fail(breaker, OUTAGES[0], 2)
        assert other.call(succeed) == "result"
    assert breaker.read_status().state == "closed"


def test_failures_of_all_functions_are_added(build_breaker: BuildBreaker) -> None:
    for _ in range(3):
        fail(build_breaker(), OUTAGES[1])
    assert build_breaker().read_status().state == "open"


def test_successful_probe_closes_breaker_for_all_functions(
    build_breaker: BuildBreaker, clock: FakeClock
) -> None:
    fail(build_breaker(), OUTAGES[0], 3)
    clock.advance(31)
    assert build_breaker().call(succeed) == "result"
    assert build_breaker().read_status().state == "closed"
    assert build_breaker().call(succeed) == "result"


def test_function_that_reads_closed_state_late_keeps_failures(
    build_breaker: BuildBreaker, clock: FakeClock
) -> None:
    late, other = build_breaker(), build_breaker()
    fail(late, OUTAGES[0], 3)
    clock.advance(31)
    assert other.call(succeed) == "result"
    fail(other, OUTAGES[0], 2)

    fail(late, OUTAGES[0])

    with pytest.raises(BreakerOpenError):
        other.call(succeed)


def test_failed_probe_opens_breaker_again(build_breaker: BuildBreaker, clock: FakeClock) -> None:
    fail(build_breaker(), OUTAGES[0], 3)
    clock.advance(31)
    fail(build_breaker(), OUTAGES[2])
    with pytest.raises(BreakerOpenError) as caught:
        build_breaker().raise_if_open()
    assert caught.value.retry_after == pytest.approx(30)


def fail_probe(build_breaker: BuildBreaker, clock: FakeClock, error: Exception) -> CircuitBreaker:
    """Open a breaker, let its probe raise the error, and return it."""
    breaker = build_breaker()
    fail(breaker, OUTAGES[0], SETTINGS.failure_threshold)
    clock.advance(SETTINGS.open_seconds + 1)
    fail(breaker, error)
    return breaker


@pytest.mark.parametrize(
    "error",
    [RetryableError("no token"), TokenUnavailableError("no token"), KeyError("a bug")],
)
def test_probe_that_fails_for_another_reason_does_not_close_breaker(
    build_breaker: BuildBreaker, clock: FakeClock, error: Exception
) -> None:
    breaker = fail_probe(build_breaker, clock, error)

    assert breaker.read_status().state == "open"
    with pytest.raises(BreakerOpenError):
        build_breaker().call(succeed)


@pytest.mark.parametrize("error", NOT_OUTAGES)
def test_probe_with_any_response_closes_breaker(
    build_breaker: BuildBreaker, clock: FakeClock, error: Exception
) -> None:
    breaker = fail_probe(build_breaker, clock, error)

    assert breaker.read_status().state == "closed"


def test_calls_are_rejected_during_probe(build_breaker: BuildBreaker, clock: FakeClock) -> None:
    fail(build_breaker(), OUTAGES[0], 3)
    clock.advance(31)
    retry_delays = []

    def probe() -> str:
        other = build_breaker()
        with pytest.raises(BreakerOpenError) as caught:
            other.call(succeed)
        retry_delays.append(caught.value.retry_after)
        return "result"

    assert build_breaker().call(probe) == "result"
    assert retry_delays == [pytest.approx(60)]


def test_abandoned_probe_is_replaced_after_its_lease(build_breaker: BuildBreaker, clock: FakeClock) -> None:
    """A function was killed during its probe."""
    fail(build_breaker(), OUTAGES[0], 3)
    clock.advance(31)
    killed = build_breaker()
    assert killed._store.claim_probe()

    with pytest.raises(BreakerOpenError):
        build_breaker().call(succeed)
    clock.advance(61)
    assert build_breaker().call(succeed) == "result"
    assert build_breaker().read_status().state == "closed"


def test_probe_that_outlives_its_lease_changes_nothing(build_breaker: BuildBreaker, clock: FakeClock) -> None:
    fail(build_breaker(), OUTAGES[0], 3)
    clock.advance(31)
    late, states = build_breaker(), []

    def slow_probe() -> str:
        clock.advance(61)
        fail(build_breaker(), OUTAGES[0])
        states.append(build_breaker().read_status().state)
        return "result"

    late.call(slow_probe)
    assert states == ["open"]
    assert build_breaker().read_status().state == "open", (
        "a late success must not close what a newer probe opened"
    )


@pytest.mark.parametrize("callers_are", ["eight functions", "eight threads of one function"])
def test_one_of_concurrent_callers_probes(
    build_breaker: BuildBreaker, clock: FakeClock, callers_are: str
) -> None:
    shared = build_breaker()
    callers = [build_breaker() if callers_are == "eight functions" else shared for _ in range(8)]
    fail(build_breaker(), OUTAGES[0], 3)
    clock.advance(31)
    barrier = threading.Barrier(8)
    probe_may_end = threading.Event()
    probes = []

    def probe() -> str:
        probes.append(1)
        probe_may_end.wait(20)
        return "result"

    def attempt(caller: CircuitBreaker) -> bool:
        barrier.wait(20)
        try:
            caller.call(probe)
        except BreakerOpenError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(attempt, caller) for caller in callers]
        finished = as_completed(futures, timeout=20)
        try:
            results = [next(finished).result() for _ in range(7)]
        finally:
            probe_may_end.set()
    assert results == [False] * 7
    assert len(probes) == 1
    assert next(finished).result() is True


def test_threads_of_one_function_call_concurrently(build_breaker: BuildBreaker) -> None:
    breaker, barrier = build_breaker(), threading.Barrier(4)
    with ThreadPoolExecutor(4) as pool:
        arrivals = list(pool.map(lambda _: breaker.call(lambda: barrier.wait(20)), range(4)))
    assert sorted(arrivals) == [0, 1, 2, 3]


def test_operator_trips_and_resets_breaker(build_breaker: BuildBreaker, clock: FakeClock) -> None:
    build_breaker().trip("key_123", seconds=600)
    view = build_breaker().describe()
    assert view["state"] == "open"
    assert view["opened_by"] == "key_123"
    assert view["open_until"] == "2026-01-31T09:40:00.000Z"
    clock.advance(599)
    with pytest.raises(BreakerOpenError):
        build_breaker().raise_if_open()

    build_breaker().reset()
    assert build_breaker().describe() == {**view, "state": "closed", "closed_at": "2026-01-31T09:39:59.000Z"}
    assert build_breaker().call(succeed) == "result"


@pytest.mark.parametrize("seconds", [None, 1, 599])
def test_trip_never_shortens_a_longer_one(build_breaker: BuildBreaker, seconds: float | None) -> None:
    build_breaker().trip("first", seconds=600)
    before = build_breaker().describe()

    build_breaker().trip("second", seconds=seconds)

    assert build_breaker().describe() == before


def test_trip_extends_a_shorter_one(build_breaker: BuildBreaker) -> None:
    build_breaker().trip("first", seconds=600)

    build_breaker().trip("second", seconds=601)

    view = build_breaker().describe()
    assert (view["opened_by"], view["open_until"]) == ("second", "2026-01-31T09:40:01.000Z")


@pytest.mark.parametrize(
    ("open_seconds", "passed_seconds", "resume_after_seconds"),
    [(600, 100, 500), (86_400, 100, 900), (600, 700, 0)],
)
def test_reset_returns_when_the_last_waiting_job_resumes(
    build_breaker: BuildBreaker,
    clock: FakeClock,
    open_seconds: float,
    passed_seconds: float,
    resume_after_seconds: float,
) -> None:
    build_breaker().trip(seconds=open_seconds)
    clock.advance(passed_seconds)

    assert build_breaker().reset() == clock.now() + timedelta(seconds=resume_after_seconds)
    assert build_breaker().reset() is None


def test_probe_closes_tripped_breaker(build_breaker: BuildBreaker, clock: FakeClock) -> None:
    build_breaker().trip(seconds=600)
    clock.advance(601)
    assert build_breaker().call(succeed) == "result"
    assert build_breaker().read_status().state == "closed"


def test_successful_calls_cost_no_write_and_one_read_per_cache_period(
    dynamodb: DynamoDBClient, clock: FakeClock, dynamodb_operations: list[str]
) -> None:
    breaker = CircuitBreaker(ControlTable(dynamodb, CONTROL_TABLE), clock, BreakerSettings(cache_seconds=60))
    for _ in range(20):
        breaker.raise_if_open()
        breaker.call(succeed)
    assert dynamodb_operations == ["GetItem"]


def test_calls_are_made_when_table_is_unavailable(clock: FakeClock) -> None:
    client = make_failing_client(EndpointConnectionError(endpoint_url="https://dynamodb.invalid"))
    breaker = CircuitBreaker(ControlTable(client, CONTROL_TABLE), clock, SETTINGS)
    assert breaker.call(succeed) == "result"
    fail(breaker, OUTAGES[1], 10)
    assert breaker.call(succeed) == "result"


steps = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.sampled_from(["success", "outage", "rejection"]),
        st.sampled_from([0, 1, 10, 31, 100]),
    ),
    min_size=1,
    max_size=25,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=steps)
def test_breakers_behave_like_one_textbook_breaker(
    dynamodb: DynamoDBClient, steps: list[tuple[int, str, int]]
) -> None:
    """For any sequence of calls by three functions; a step is function, outcome and seconds before it."""
    clock = FakeClock()
    table = ControlTable(dynamodb, CONTROL_TABLE)
    dynamodb.delete_item(TableName=CONTROL_TABLE, Key={"pk": {"S": "BREAKER#replicate"}})
    breakers = [CircuitBreaker(table, clock, SETTINGS) for _ in range(3)]
    calls: dict[str, Callable[[], str]] = {
        "success": succeed,
        "outage": build_failing_call(NotAcceptedError("refused")),
        "rejection": build_failing_call(RejectedError(422, "Invalid", "no")),
    }
    errors = {"success": None, "outage": NotAcceptedError, "rejection": RejectedError}
    failures, open_until = 0, None
    for function, outcome, pause_seconds in steps:
        clock.advance(pause_seconds)
        now = clock.monotonic()
        is_open = open_until is not None and now < open_until
        try:
            breakers[function].call(calls[outcome])
            raised = None
        except (BreakerOpenError, NotAcceptedError, RejectedError) as error:
            raised = type(error)
        assert raised is (BreakerOpenError if is_open else errors[outcome])
        if is_open:
            continue
        if outcome != "outage":
            failures, open_until = 0, None
        else:
            failures += 1
            if open_until is not None or failures >= SETTINGS.failure_threshold:
                open_until = now + SETTINGS.open_seconds


def test_outage_of_a_tenants_account_opens_its_own_breaker(
    dynamodb: DynamoDBClient, clock: FakeClock
) -> None:
    table = build_control_table(dynamodb)
    own, shared, other = (
        CircuitBreaker(table, clock, SETTINGS, account=account)
        for account in (Account("acme", "own"), SHARED_ACCOUNT, Account("globex", "own"))
    )
    fail(own, UpstreamUnavailableError("503"), 3)
    assert own.read_status().state == "open"
    assert (shared.call(succeed), other.call(succeed)) == ("result", "result")
