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
_RETRY_DELAY_SECONDS = 2.0


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

    def redrive_queue(self, queue: str, *, rate_per_second: float, **filters: Any) -> int:
        """Redrive the messages of a queue that match the filters; return their number.

        The filters are `tenant`, `job_id` and `message_ids`.
        """
        return self._repeat(
            build_path("queues", queue, "redrive"), {"rate_per_second": rate_per_second, **filters}
        )

    def discard(self, queue: str, **filters: Any) -> int:
        """Discard the messages of a queue that match the filters, of which one is required."""
        return self._repeat(build_path("queues", queue, "discard"), filters)

    def redrive_all(self, *, rate_per_second: float, **filters: Any) -> dict[str, int]:
        """Redrive all queues that have messages; return the numbers of messages of all queues."""
        return {
            queue: self.redrive_queue(queue, rate_per_second=rate_per_second, **filters) if count else 0
            for queue, count in self.count_messages().items()
        }

    def _repeat(self, path: str, body: dict[str, Any]) -> int:
        handled = 0
        while True:
            result = self._with_retries(lambda: self.client.call("POST", path, body))
            handled += int(result["handled"])
            if result["done"] or not result["handled"]:
                return handled

    def _with_retries[T](self, request: Callable[[], T]) -> T:
        for _ in range(_MAX_ATTEMPTS - 1):
            try:
                return request()
            except UnavailableError:
                self.sleep(_RETRY_DELAY_SECONDS)
        return request()
