"""Retries share one budget; time is a clock that sleeping moves."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from replicate_proxy.errors import RetryableError
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
from replicate_proxy.replicate_api.models import CreateTarget
from replicate_proxy.replicate_api.retry import Budget, Retry, RetryingClient, retry_budget
from tests.support.scripted_server import PREDICTION, ScriptedServer, respond_with

if TYPE_CHECKING:
    from collections.abc import Callable


class Sleeper:
    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def sleeper(monkeypatch: pytest.MonkeyPatch) -> Sleeper:
    sleeper = Sleeper()
    monkeypatch.setattr(time, "sleep", sleeper.sleep)
    monkeypatch.setattr(
        retry_module, "Budget", lambda seconds: Budget(seconds, monotonic=lambda: sleeper.now)
    )
    return sleeper


def scripted(*outcomes: Exception | str) -> tuple[Callable[[Budget], str], list[int]]:
    """A call that gives one outcome after the other, and the count of calls made."""
    left, calls = list(outcomes), [0]

    def call(_: Budget) -> str:
        calls[0] += 1
        outcome = left.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return call, calls


@pytest.mark.parametrize("error", [NotAcceptedError("x"), UpstreamUnavailableError("x"), RetryableError("x")])
def test_a_passing_failure_is_tried_again(sleeper: Sleeper, error: Exception) -> None:
    call, calls = scripted(error, error, "done")
    assert Retry().call(call) == "done"
    assert calls == [3]
    assert len(sleeper.slept) == 2


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
def test_anything_else_is_not(sleeper: Sleeper, error: Exception) -> None:
    call, calls = scripted(error, "never")
    with pytest.raises(type(error)):
        Retry().call(call)
    assert calls == [1]
    assert sleeper.slept == []


def test_what_the_caller_excludes_is_not(sleeper: Sleeper) -> None:
    call, calls = scripted(ThrottledError("429", retry_after=0.1), "never")
    with pytest.raises(ThrottledError):
        Retry().call(call, no_retry_on=(ThrottledError,))
    assert calls == [1]


def test_the_last_error_comes_out_when_the_tries_are_used_up(sleeper: Sleeper) -> None:
    last = NotAcceptedError("last")
    call, calls = scripted(NotAcceptedError("1"), NotAcceptedError("2"), last, "never")
    with pytest.raises(NotAcceptedError) as caught:
        Retry(max_attempts=3).call(call)
    assert caught.value is last
    assert calls == [3]


def test_waits_grow_and_stay_below_the_cap(sleeper: Sleeper) -> None:
    call, _ = scripted(*[NotAcceptedError("x")] * 7, "done")
    Retry(max_attempts=8, base_delay_seconds=0.5, max_delay_seconds=2.0, budget_seconds=100).call(call)
    ceilings = [0.5, 1.0, 2.0, 2.0, 2.0, 2.0, 2.0]
    assert all(0 <= wait <= ceiling for wait, ceiling in zip(sleeper.slept, ceilings, strict=True))
    assert len(set(sleeper.slept)) > 1, "full jitter"


def test_retry_after_is_honoured(sleeper: Sleeper) -> None:
    call, _ = scripted(ThrottledError("429", retry_after=5), "done")
    Retry(budget_seconds=20).call(call)
    assert sleeper.slept[0] >= 5


def test_a_wait_beyond_the_budget_is_not_begun(sleeper: Sleeper) -> None:
    call, calls = scripted(ThrottledError("429", retry_after=30), "never")
    with pytest.raises(ThrottledError):
        Retry(budget_seconds=20).call(call)
    assert calls == [1]
    assert sleeper.slept == []


def test_all_calls_of_an_invocation_share_one_budget(sleeper: Sleeper) -> None:
    """Given 10 s in all: a first call waits 6, so the second may not wait 6 as well."""
    first, _ = scripted(ThrottledError("429", retry_after=6), "done")
    second, calls = scripted(ThrottledError("429", retry_after=6), "never")
    with retry_budget(10):
        assert Retry(budget_seconds=60).call(first) == "done"
        with pytest.raises(ThrottledError):
            Retry(budget_seconds=60).call(second)
    assert calls == [1]
    assert sum(sleeper.slept) < 10


class TestRetryingClient:
    """Over real sockets, with waits of hundredths."""

    @pytest.fixture
    def client_to(self, client_for: Callable[[str], object]) -> Callable[[str], RetryingClient]:
        retry = Retry(max_attempts=3, base_delay_seconds=0.01, max_delay_seconds=0.02, budget_seconds=5)
        return lambda url: RetryingClient(client_for(url), retry)  # type: ignore[arg-type]  # the fixture's type

    def test_a_read_survives_a_bad_moment(
        self, serve: Callable[..., ScriptedServer], client_to: Callable[[str], RetryingClient]
    ) -> None:
        upstream = serve(respond_with(503, b""), respond_with(502, b""), respond_with(200, PREDICTION))
        assert client_to(upstream.url).get("abc").id == PREDICTION["id"]

    @pytest.mark.parametrize("status", [500, 503, 429, 422])
    def test_a_create_is_sent_once_whatever_the_answer(
        self, serve: Callable[..., ScriptedServer], client_to: Callable[[str], RetryingClient], status: int
    ) -> None:
        upstream = serve(respond_with(status, b"{}"), respond_with(201, PREDICTION))
        with pytest.raises((OutcomeUnknownError, ThrottledError, RejectedError)):
            client_to(upstream.url).create(CreateTarget("predictions"), {})
        assert upstream.connections == 1

    def test_a_create_that_was_refused_before_any_work_is_sent_again(
        self, serve: Callable[..., ScriptedServer], client_to: Callable[[str], RetryingClient]
    ) -> None:
        upstream = serve(respond_with(425, b""), respond_with(201, PREDICTION))
        assert client_to(upstream.url).create(CreateTarget("predictions"), {}).id == PREDICTION["id"]
