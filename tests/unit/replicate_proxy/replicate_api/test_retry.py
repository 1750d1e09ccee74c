"""Retries and their common deadline. Sleeping advances a fake clock."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from replicate_proxy.errors import RetryableError
from replicate_proxy.net.deadline import Deadline
from replicate_proxy.replicate_api import retry as retry_module
from replicate_proxy.replicate_api.errors import (
    BreakerOpenError,
    NotAcceptedError,
    OutcomeUnknownError,
    RejectedError,
    ThrottledError,
    TokenRejectedError,
    UpstreamUnavailableError,
)
from replicate_proxy.replicate_api.retry import Retry, RetryingClient, retry_budget
from tests.support.scripted_server import PREDICTION, SUBMISSION, ScriptedServer, respond_with

if TYPE_CHECKING:
    from collections.abc import Callable


class FakeTime:
    def __init__(self) -> None:
        self.now = 1000.0
        self.delays: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.delays.append(seconds)
        self.now += seconds


@pytest.fixture
def fake_time(monkeypatch: pytest.MonkeyPatch) -> FakeTime:
    fake_time = FakeTime()
    monkeypatch.setattr(time, "sleep", fake_time.sleep)
    monkeypatch.setattr(
        retry_module, "Deadline", lambda seconds: Deadline(seconds, monotonic=lambda: fake_time.now)
    )
    return fake_time


def build_function(*outcomes: Exception | str) -> tuple[Callable[[Deadline], str], list[int]]:
    """Return a function with these outcomes, one per call, and a list that holds the number of calls."""
    remaining, calls = list(outcomes), [0]

    def function(_: Deadline) -> str:
        calls[0] += 1
        outcome = remaining.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return function, calls


@pytest.mark.parametrize("error", [NotAcceptedError("x"), UpstreamUnavailableError("x"), RetryableError("x")])
def test_retryable_error_is_retried(fake_time: FakeTime, error: Exception) -> None:
    function, calls = build_function(error, error, "done")
    assert Retry().call(function) == "done"
    assert calls == [3]
    assert len(fake_time.delays) == 2


@pytest.mark.parametrize(
    "error",
    [
        OutcomeUnknownError("503"),
        RejectedError(422, "t", "d"),
        BreakerOpenError("open", retry_after=1),
        TokenRejectedError("401", retry_after=1),
        KeyError("bug"),
    ],
)
def test_other_error_is_not_retried(fake_time: FakeTime, error: Exception) -> None:
    function, calls = build_function(error, "never")
    with pytest.raises(type(error)):
        Retry().call(function)
    assert calls == [1]
    assert fake_time.delays == []


def test_excluded_error_is_not_retried(fake_time: FakeTime) -> None:
    function, calls = build_function(ThrottledError("429", retry_after=0.1), "never")
    with pytest.raises(ThrottledError):
        Retry().call(function, no_retry_on=(ThrottledError,))
    assert calls == [1]


def test_last_error_is_raised_after_max_attempts(fake_time: FakeTime) -> None:
    last = NotAcceptedError("last")
    function, calls = build_function(NotAcceptedError("1"), NotAcceptedError("2"), last, "never")
    with pytest.raises(NotAcceptedError) as caught:
        Retry(max_attempts=3).call(function)
    assert caught.value is last
    assert calls == [3]


def test_delays_grow_up_to_maximum(fake_time: FakeTime) -> None:
    function, _ = build_function(*[NotAcceptedError("x")] * 7, "done")
    Retry(max_attempts=8, base_delay_seconds=0.5, max_delay_seconds=2.0, budget_seconds=100).call(function)
    ceilings = [0.5, 1.0, 2.0, 2.0, 2.0, 2.0, 2.0]
    assert all(0 <= delay <= ceiling for delay, ceiling in zip(fake_time.delays, ceilings, strict=True))
    assert len(set(fake_time.delays)) > 1, "full jitter"


def test_retry_after_is_respected(fake_time: FakeTime) -> None:
    function, _ = build_function(ThrottledError("429", retry_after=5), "done")
    Retry(budget_seconds=20).call(function)
    assert fake_time.delays[0] >= 5


def test_delay_beyond_deadline_is_not_begun(fake_time: FakeTime) -> None:
    function, calls = build_function(ThrottledError("429", retry_after=30), "never")
    with pytest.raises(ThrottledError):
        Retry(budget_seconds=20).call(function)
    assert calls == [1]
    assert fake_time.delays == []


def test_calls_within_retry_budget_share_deadline(fake_time: FakeTime) -> None:
    """Of 10 s the first call waits 6, so that the second cannot wait 6, too."""
    first, _ = build_function(ThrottledError("429", retry_after=6), "done")
    second, calls = build_function(ThrottledError("429", retry_after=6), "never")
    with retry_budget(10):
        assert Retry(budget_seconds=60).call(first) == "done"
        with pytest.raises(ThrottledError):
            Retry(budget_seconds=60).call(second)
    assert calls == [1]
    assert sum(fake_time.delays) < 10


class TestRetryingClient:
    """Over real sockets, with delays of hundredths of a second."""

    @pytest.fixture
    def build_retrying_client(self, build_client: Callable[[str], object]) -> Callable[[str], RetryingClient]:
        retry = Retry(max_attempts=3, base_delay_seconds=0.01, max_delay_seconds=0.02, budget_seconds=5)
        return lambda url: RetryingClient(build_client(url), retry)  # type: ignore[arg-type]  # the fixture's type

    def test_read_is_retried_after_5xx(
        self,
        start_server: Callable[..., ScriptedServer],
        build_retrying_client: Callable[[str], RetryingClient],
    ) -> None:
        server = start_server(respond_with(503, b""), respond_with(502, b""), respond_with(200, PREDICTION))
        assert build_retrying_client(server.url).get("abc").id == PREDICTION["id"]

    @pytest.mark.parametrize("status", [500, 503, 429, 422])
    def test_create_is_sent_once_whatever_the_status(
        self,
        start_server: Callable[..., ScriptedServer],
        build_retrying_client: Callable[[str], RetryingClient],
        status: int,
    ) -> None:
        server = start_server(respond_with(status, b"{}"), respond_with(201, PREDICTION))
        with pytest.raises((OutcomeUnknownError, ThrottledError, RejectedError)):
            build_retrying_client(server.url).create(SUBMISSION, {})
        assert server.connections == 1

    def test_create_is_sent_again_when_not_accepted(
        self,
        start_server: Callable[..., ScriptedServer],
        build_retrying_client: Callable[[str], RetryingClient],
    ) -> None:
        server = start_server(respond_with(425, b""), respond_with(201, PREDICTION))
        created = build_retrying_client(server.url).create(SUBMISSION, {}, cancel_after_seconds=90)
        assert created.id == PREDICTION["id"]
        assert [b"Cancel-After: 90s\r\n" in request for request in server.requests] == [True, True]
