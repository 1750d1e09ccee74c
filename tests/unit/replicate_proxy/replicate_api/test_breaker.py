"""One breaker for all functions: each `Breaker` here stands for a Lambda of its own over the same record."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

import pytest
from botocore.exceptions import EndpointConnectionError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from replicate_proxy.aws.control_table import ControlTable
from replicate_proxy.replicate_api.circuit_breaker import BreakerSettings, CircuitBreaker
from replicate_proxy.replicate_api.errors import (
    BreakerOpenError,
    NotAcceptedError,
    OutcomeUnknownError,
    RejectedError,
    ThrottledError,
    TokenRejectedError,
    UnexpectedResponseError,
    UpstreamUnavailableError,
)
from tests.support.clock import FakeClock
from tests.support.control_table import TABLE, SerializedDynamoDb

Breakers = Callable[[], CircuitBreaker]
SETTINGS = BreakerSettings(failure_threshold=3, open_seconds=30, probe_lease_seconds=60, cache_seconds=0)

ILL: list[Exception] = [
    NotAcceptedError("refused"),
    OutcomeUnknownError("503"),
    UpstreamUnavailableError("timeout"),
]
WELL: list[Exception] = [
    RejectedError(422, "Invalid", "no"),
    ThrottledError("429", retry_after=5),
    TokenRejectedError("401"),
    UnexpectedResponseError("odd"),
]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def breaker(dynamodb: Any, clock: FakeClock) -> Breakers:
    table = ControlTable(SerializedDynamoDb(dynamodb), TABLE)
    return lambda: CircuitBreaker(table, clock, SETTINGS)


def failing(error: Exception) -> Callable[[], str]:
    def call() -> str:
        raise error

    return call


def fail(breaker: CircuitBreaker, error: Exception, times: int = 1) -> None:
    for _ in range(times):
        with pytest.raises(type(error)):
            breaker.call(failing(error))


def fine() -> str:
    return "fine"


@pytest.mark.parametrize("error", ILL, ids=lambda error: type(error).__name__)
def test_opens_for_all_after_failures_in_a_row(breaker: Breakers, error: Exception) -> None:
    fail(breaker(), error, 3)
    with pytest.raises(BreakerOpenError) as caught:
        breaker().call(fine)
    assert caught.value.retry_after == pytest.approx(30)
    status = breaker().read_status()
    assert (status.state, status.opened_by) == ("open", type(error).__name__)


def test_the_call_that_opens_it_still_tells_its_own_outcome(breaker: Breakers) -> None:
    """Were it the breaker's error instead, an unknown create would count as never sent, and be paid twice."""
    one = breaker()
    fail(one, UpstreamUnavailableError("x"), 2)
    with pytest.raises(OutcomeUnknownError):
        one.call(failing(OutcomeUnknownError("sent, no answer")))
    with pytest.raises(BreakerOpenError):
        one.raise_if_open()


def test_the_probe_that_fails_still_tells_its_own_outcome(breaker: Breakers, clock: FakeClock) -> None:
    one = breaker()
    fail(one, UpstreamUnavailableError("x"), 3)
    clock.advance(31)
    with pytest.raises(OutcomeUnknownError):
        one.call(failing(OutcomeUnknownError("sent, no answer")))


@pytest.mark.parametrize("error", WELL, ids=lambda error: type(error).__name__)
def test_an_answer_of_whatever_kind_is_health(breaker: Breakers, error: Exception) -> None:
    one = breaker()
    fail(one, error, 10)
    assert one.call(fine) == "fine"
    assert one.read_status().failures == 0


def test_failures_count_in_a_row_only(breaker: Breakers) -> None:
    one, other = breaker(), breaker()
    for _ in range(5):
        fail(one, ILL[0], 2)
        assert other.call(fine) == "fine"
    assert one.read_status().state == "closed"


def test_failures_of_all_functions_count_together(breaker: Breakers) -> None:
    for _ in range(3):
        fail(breaker(), ILL[1])
    assert breaker().read_status().state == "open"


def test_one_good_probe_closes_it_for_all(breaker: Breakers, clock: FakeClock) -> None:
    fail(breaker(), ILL[0], 3)
    clock.advance(31)
    assert breaker().call(fine) == "fine"
    assert breaker().read_status().state == "closed"
    assert breaker().call(fine) == "fine"


def test_one_that_learns_late_that_it_is_closed_forgets_no_failure(
    breaker: Breakers, clock: FakeClock
) -> None:
    late, other = breaker(), breaker()
    fail(late, ILL[0], 3)
    clock.advance(31)
    assert other.call(fine) == "fine"
    fail(other, ILL[0], 2)

    fail(late, ILL[0])

    with pytest.raises(BreakerOpenError):
        other.call(fine)


def test_one_bad_probe_opens_it_again(breaker: Breakers, clock: FakeClock) -> None:
    fail(breaker(), ILL[0], 3)
    clock.advance(31)
    fail(breaker(), ILL[2])
    with pytest.raises(BreakerOpenError) as caught:
        breaker().raise_if_open()
    assert caught.value.retry_after == pytest.approx(30)


def test_while_one_probes_the_others_wait(breaker: Breakers, clock: FakeClock) -> None:
    fail(breaker(), ILL[0], 3)
    clock.advance(31)
    refused = []

    def probe() -> str:
        other = breaker()
        with pytest.raises(BreakerOpenError) as caught:
            other.call(fine)
        refused.append(caught.value.retry_after)
        return "fine"

    assert breaker().call(probe) == "fine"
    assert refused == [pytest.approx(60)]


def test_a_probe_that_died_makes_room_for_another(breaker: Breakers, clock: FakeClock) -> None:
    """Given a function that was killed in the middle of its probe."""
    fail(breaker(), ILL[0], 3)
    clock.advance(31)
    dead = breaker()
    dead._mine.storage.state = "half-open"

    with pytest.raises(BreakerOpenError):
        breaker().call(fine)
    clock.advance(61)
    assert breaker().call(fine) == "fine"
    assert breaker().read_status().state == "closed"


def test_a_probe_that_outlived_its_lease_decides_nothing(breaker: Breakers, clock: FakeClock) -> None:
    fail(breaker(), ILL[0], 3)
    clock.advance(31)
    late, states = breaker(), []

    def slow_probe() -> str:
        clock.advance(61)
        fail(breaker(), ILL[0])
        states.append(breaker().read_status().state)
        return "fine"

    late.call(slow_probe)
    assert states == ["open"]
    assert breaker().read_status().state == "open", "a stale success must not close what a newer probe opened"


@pytest.mark.parametrize("kind", ["eight functions", "eight threads of one"])
def test_exactly_one_of_many_gets_the_probe(breaker: Breakers, clock: FakeClock, kind: str) -> None:
    shared = breaker()
    callers = [breaker() if kind == "eight functions" else shared for _ in range(8)]
    fail(breaker(), ILL[0], 3)
    clock.advance(31)
    everybody = threading.Barrier(8)
    release = threading.Event()
    probes = []

    def probe() -> str:
        probes.append(1)
        release.wait(20)
        return "fine"

    def attempt(one: CircuitBreaker) -> bool:
        everybody.wait(20)
        try:
            one.call(probe)
        except BreakerOpenError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(attempt, caller) for caller in callers]
        ended = as_completed(futures, timeout=20)
        try:
            refused = [next(ended).result() for _ in range(7)]
        finally:
            release.set()
    assert refused == [False] * 7
    assert len(probes) == 1
    assert next(ended).result() is True


def test_threads_of_one_function_call_at_the_same_time(breaker: Breakers) -> None:
    one, together = breaker(), threading.Barrier(4)
    with ThreadPoolExecutor(4) as pool:
        arrivals = list(pool.map(lambda _: one.call(lambda: together.wait(20)), range(4)))
    assert sorted(arrivals) == [0, 1, 2, 3]


def test_by_hand(breaker: Breakers, clock: FakeClock) -> None:
    breaker().trip("key_123", seconds=600)
    view = breaker().describe()
    assert view["state"] == "open"
    assert view["opened_by"] == "key_123"
    assert view["open_until"] == "2026-01-31T09:40:00.000Z"
    clock.advance(599)
    with pytest.raises(BreakerOpenError):
        breaker().raise_if_open()

    breaker().reset()
    assert breaker().describe() == {**view, "state": "closed", "closed_at": "2026-01-31T09:39:59.000Z"}
    assert breaker().call(fine) == "fine"


def test_tripped_by_hand_a_probe_decides_after_the_time(breaker: Breakers, clock: FakeClock) -> None:
    breaker().trip(seconds=600)
    clock.advance(601)
    assert breaker().call(fine) == "fine"
    assert breaker().read_status().state == "closed"


def test_a_healthy_call_costs_no_write_and_a_read_every_few_seconds(
    dynamodb: Any, clock: FakeClock, counted: list[str]
) -> None:
    one = CircuitBreaker(ControlTable(dynamodb, TABLE), clock, BreakerSettings(cache_seconds=60))
    for _ in range(20):
        one.raise_if_open()
        one.call(fine)
    assert counted == ["GetItem"]


def test_calls_go_on_when_the_table_cannot_be_reached(clock: FakeClock) -> None:
    class Unreachable:
        def __getattr__(self, _: str) -> Any:
            def fail(**_: object) -> None:
                raise EndpointConnectionError(endpoint_url="https://dynamodb.invalid")

            return fail

    one = CircuitBreaker(ControlTable(Unreachable(), TABLE), clock, SETTINGS)
    assert one.call(fine) == "fine"
    fail(one, ILL[1], 10)
    assert one.call(fine) == "fine"


steps = st.lists(
    st.tuples(
        st.integers(0, 2), st.sampled_from(["fine", "ill", "rejected"]), st.sampled_from([0, 1, 10, 31, 100])
    ),
    min_size=1,
    max_size=25,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=steps)
def test_against_a_model(dynamodb: Any, steps: list[tuple[int, str, int]]) -> None:
    """Any sequence of calls by three functions ends as the textbook's single breaker would."""
    clock = FakeClock()
    table = ControlTable(dynamodb, TABLE)
    dynamodb.delete_item(TableName=TABLE, Key={"pk": {"S": "BREAKER#replicate"}})
    functions = [CircuitBreaker(table, clock, SETTINGS) for _ in range(3)]
    failures, open_until = 0, None
    for who, what, pause in steps:
        clock.advance(pause)
        now = clock.monotonic()
        refused = open_until is not None and now < open_until
        call = {"fine": fine, "ill": failing(ILL[0]), "rejected": failing(WELL[0])}[what]
        answers = {"fine": None, "ill": NotAcceptedError, "rejected": RejectedError}
        expected = BreakerOpenError if refused else answers[what]
        try:
            functions[who].call(call)
            outcome = None
        except (BreakerOpenError, NotAcceptedError, RejectedError) as error:
            outcome = type(error)
        assert outcome is expected
        if refused:
            continue
        if what != "ill":
            failures, open_until = 0, None
        else:
            failures += 1
            if open_until is not None or failures >= SETTINGS.failure_threshold:
                open_until = now + SETTINGS.open_seconds
