"""Trying again within one invocation, for calls where that cannot cost money twice."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import backoff

from replicate_proxy.errors import RetryableError
from replicate_proxy.observability import logger
from replicate_proxy.replicate_api.budget import Budget
from replicate_proxy.replicate_api.errors import BreakerOpenError, UnauthenticatedError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

__all__ = ["Retry", "invocation"]

_shared: ContextVar[Budget | None] = ContextVar("budget", default=None)

_POINTLESS = (BreakerOpenError, UnauthenticatedError)
"""Passing failures that do not pass within seconds."""


@contextmanager
def invocation(seconds: float) -> Iterator[Budget]:
    """One budget for everything that is retried inside, however many calls that are."""
    budget = Budget(seconds)
    token = _shared.set(budget)
    try:
        yield budget
    finally:
        _shared.reset(token)


@dataclass(frozen=True, slots=True)
class Retry:
    """At most `tries` calls; waits grow from `base` to `cap` seconds with full jitter, never below
    `retry_after`.

    All waiting and calling shares the budget of the surrounding `invocation`, or `seconds` where there is
    none. A wait that would use the budget up is not begun: the error goes to the caller, who has a queue to
    park in.
    """

    tries: int = 4
    base: float = 0.2
    cap: float = 4.0
    seconds: float = 20.0

    def call[T](self, function: Callable[[Budget], T], *, never: tuple[type[RetryableError], ...] = ()) -> T:
        """What `function` gives, called again on each RetryableError but those of `never`."""
        budget = _shared.get() or Budget(self.seconds)
        retrying = backoff.on_exception(
            cast("Callable[[], Generator[float]]", lambda: self._waits(budget)),
            RetryableError,
            max_tries=self.tries,
            giveup=lambda error: isinstance(error, (*_POINTLESS, *never)),
            jitter=None,
            logger=None,
        )
        return retrying(function)(budget)

    def _waits(self, budget: Budget) -> Generator[float, RetryableError]:
        """backoff sends in each error and sleeps for what comes out; when this ends, it raises the error."""
        growing = backoff.expo(base=2, factor=self.base, max_value=self.cap)
        growing.send(None)
        error = yield 0.0
        while True:
            wait = max(backoff.full_jitter(next(growing)), error.retry_after or 0.0)
            if wait >= budget.remaining():
                return
            logger.info("trying again", reason=type(error).__name__, seconds=round(wait, 2))
            error = yield wait
