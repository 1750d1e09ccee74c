"""Retries within one invocation, for calls where a retry cannot cost money twice."""

from __future__ import annotations

import itertools
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from random import SystemRandom
from typing import TYPE_CHECKING, Any, cast

from replicate_proxy.errors import RetryableError
from replicate_proxy.net.deadline import Deadline
from replicate_proxy.observability import logger
from replicate_proxy.replicate_api.errors import BreakerOpenError, ThrottledError, TokenRejectedError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Mapping
    from datetime import datetime

    from replicate_proxy.jobs.model import Submission
    from replicate_proxy.replicate_api.client import ReplicateClient
    from replicate_proxy.replicate_api.models import UpstreamPrediction, UpstreamPredictionPage
    from replicate_proxy.replicate_api.response import UpstreamResponse


_NEVER_RETRIED = (BreakerOpenError, TokenRejectedError)
"""Temporary failures that last longer than an invocation can wait."""

# Not the module's own source, which would be the same in all environments that SnapStart makes of one.
_RANDOM = SystemRandom()

_shared_deadline: ContextVar[Deadline | None] = ContextVar("retry_deadline", default=None)


@contextmanager
def retry_budget(seconds: float) -> Iterator[Deadline]:
    """Give all calls and retries made inside one common deadline."""
    deadline = Deadline(seconds)
    token = _shared_deadline.set(deadline)
    try:
        yield deadline
    finally:
        _shared_deadline.reset(token)


@dataclass(frozen=True, slots=True)
class Retry:
    """Up to `max_attempts` calls with exponential backoff and full jitter, never below `retry_after`.

    Calls and delays share the deadline of the surrounding `retry_budget`; without one they have
    `budget_seconds`. A delay that would pass the deadline is not begun: the error is raised, and the caller
    requeues its message.
    """

    max_attempts: int = 4
    base_delay_seconds: float = 0.2
    max_delay_seconds: float = 4.0
    budget_seconds: float = 20.0

    def call[T](
        self, function: Callable[[Deadline], T], *, no_retry_on: tuple[type[RetryableError], ...] = ()
    ) -> T:
        """Call `function` until it returns; retry on each RetryableError except those of `no_retry_on`."""
        deadline = _shared_deadline.get() or Deadline(self.budget_seconds)
        try:
            return function(deadline)
        except RetryableError as error:
            return self._call_again(function, deadline, error, (*_NEVER_RETRIED, *no_retry_on))

    def _call_again[T](
        self,
        function: Callable[[Deadline], T],
        deadline: Deadline,
        first_error: RetryableError,
        no_retry_on: tuple[type[RetryableError], ...],
    ) -> T:
        """Go on after the first call has failed, which counts as one of the attempts."""
        import backoff  # noqa: PLC0415 - loads asyncio, a tenth of a cold start, and most calls do not fail

        attempts = itertools.count()

        def call(deadline: Deadline) -> T:
            if next(attempts) == 0:
                raise first_error
            return function(deadline)

        retrying = backoff.on_exception(
            cast("Callable[[], Generator[float]]", lambda: self._generate_delays(deadline)),
            RetryableError,
            max_tries=self.max_attempts,
            giveup=lambda error: isinstance(error, no_retry_on),
            jitter=None,
            logger=None,
        )
        return retrying(call)(deadline)

    def _generate_delays(self, deadline: Deadline) -> Generator[float, RetryableError]:
        """Yield the delay after each error that backoff sends in; backoff raises the error when this ends."""
        import backoff  # noqa: PLC0415 - see above

        ceilings = backoff.expo(base=2, factor=self.base_delay_seconds, max_value=self.max_delay_seconds)
        ceilings.send(None)
        error = yield 0.0
        while True:
            delay_seconds = max(_RANDOM.uniform(0, next(ceilings)), error.retry_after or 0.0)
            if delay_seconds >= deadline.remaining_seconds:
                return
            logger.info(
                "retrying call to Replicate",
                reason=type(error).__name__,
                delay_seconds=round(delay_seconds, 2),
            )
            error = yield delay_seconds


@dataclass(frozen=True, slots=True)
class RetryingClient:
    """`ReplicateClient` with retries. It raises the same errors, once attempts or time are used up."""

    client: ReplicateClient
    retry: Retry

    def create(
        self, submission: Submission, body: Mapping[str, Any], *, cancel_after_seconds: int | None = None
    ) -> UpstreamPrediction:
        """Create a prediction. Only a create that was definitely not accepted is sent again.

        A throttled create is not retried here: it waits in a queue, not in a running function.
        """
        return self.retry.call(
            lambda deadline: self.client.create(
                submission, body, cancel_after_seconds=cancel_after_seconds, deadline=deadline
            ),
            no_retry_on=(ThrottledError,),
        )

    def get(self, prediction_id: str) -> UpstreamPrediction:
        return self.retry.call(lambda deadline: self.client.get(prediction_id, deadline=deadline))

    def cancel(self, prediction_id: str) -> UpstreamPrediction:
        return self.retry.call(lambda deadline: self.client.cancel(prediction_id, deadline=deadline))

    def list(
        self,
        *,
        created_after: datetime | None = None,
        created_before: datetime | None = None,
        cursor: str | None = None,
    ) -> UpstreamPredictionPage:
        return self.retry.call(
            lambda deadline: self.client.list(
                created_after=created_after, created_before=created_before, cursor=cursor, deadline=deadline
            )
        )

    def get_webhook_secret(self) -> str:
        return self.retry.call(lambda deadline: self.client.get_webhook_secret(deadline=deadline))

    def read(self, path: str, query: Mapping[str, str] | None = None) -> UpstreamResponse:
        return self.retry.call(lambda deadline: self.client.read(path, query, deadline=deadline))
