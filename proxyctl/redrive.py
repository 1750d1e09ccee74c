"""Redrive dead letters with as many requests as necessary."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from proxyctl.client import UnavailableError, build_path, count_messages

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxyctl.client import AdminClient


_MAX_ATTEMPTS = 5
# A request ends after some seconds. SQS returns messages in no order, so that the next one looks at others.
_MAX_REQUESTS_WITHOUT_MATCH = 3
_RETRY_DELAY_SECONDS = 2.0


@dataclass(frozen=True)
class RedriveResult:
    """How many messages of a queue were handled, and whether these are all that should be.

    `skipped` counts those of the last request that do not match the filters or could not be redriven; `done`
    says whether it reached the end of the queue.
    """

    handled: int
    skipped: int
    done: bool
    is_complete: bool


_EMPTY = RedriveResult(handled=0, skipped=0, done=True, is_complete=True)


@dataclass(frozen=True)
class Redriver:
    """Redrives and discards; requests that fail temporarily are retried, which is safe.

    Redriven messages are no longer in the queue, and consumers handle a repeated message.
    """

    client: AdminClient
    sleep: Callable[[float], None] = time.sleep

    def count_messages(self) -> dict[str, int]:
        """Return the number of messages by queue, including those that are being processed."""
        queues = self._with_retries(self.client.list_queues)
        return {queue["name"]: count_messages(queue["dead_letters"]) for queue in queues}

    def redrive_queue(self, queue: str, *, rate_per_second: float, **filters: Any) -> RedriveResult:
        """Redrive the messages of a queue that match the filters: `tenant`, `job_id` and `message_ids`."""
        return self._repeat(build_path("queues", queue, "redrive"), filters, rate_per_second=rate_per_second)

    def discard(self, queue: str, **filters: Any) -> RedriveResult:
        """Discard the messages of a queue that match the filters, of which one is required."""
        return self._repeat(build_path("queues", queue, "discard"), filters)

    def redrive_all(self, *, rate_per_second: float, **filters: Any) -> dict[str, RedriveResult]:
        """Redrive all queues that have messages; return the results of all queues."""
        return {
            queue: self.redrive_queue(queue, rate_per_second=rate_per_second, **filters) if count else _EMPTY
            for queue, count in self.count_messages().items()
        }

    def _repeat(self, path: str, filters: dict[str, Any], **options: float) -> RedriveResult:
        """Send the request until it reaches the end of the queue, or finds nothing repeatedly."""
        named = len(set(filters.get("message_ids", ())))
        handled = without_match = 0
        while True:
            response = self._with_retries(lambda: self.client.call("POST", path, {**options, **filters}))
            handled += int(response["handled"])
            without_match = 0 if response["handled"] else without_match + 1
            has_all_named = 0 < named <= handled
            if response["done"] or has_all_named or without_match == _MAX_REQUESTS_WITHOUT_MATCH:
                break
        skipped, done = int(response["skipped"]), bool(response["done"])
        # Without filters, those that were skipped could not be redriven.
        is_complete = has_all_named or (done and (bool(filters) or not skipped))
        return RedriveResult(handled, skipped, done, is_complete)

    def _with_retries[T](self, request: Callable[[], T]) -> T:
        for _ in range(_MAX_ATTEMPTS - 1):
            try:
                return request()
            except UnavailableError:
                self.sleep(_RETRY_DELAY_SECONDS)
        return request()
