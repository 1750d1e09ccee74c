"""Dead letters seen and sent back, by way of the admin API, for operators' tools."""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from replicate_proxy.errors import RetryableError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tools.cli.admin_client import AdminClient


_TRIES = 5
_PAUSE_SECONDS = 2.0


@dataclass(frozen=True)
class Redriver:
    """Goes on over as many requests as it takes; what fails for a passing reason is asked again."""

    client: AdminClient
    sleep: Callable[[float], None] = time.sleep

    def count_messages(self) -> dict[str, int]:
        """Dead letters by queue, with those that somebody is looking at."""
        rows = self._with_retries(self.client.list_queues)
        return {
            row["name"]: row["dead_letters"]["waiting"] + row["dead_letters"]["in_flight"] for row in rows
        }

    def redrive_queue(self, queue: str, *, rate: float, **which: Any) -> int:
        """Sends back all letters, or those that `which` means (tenant, job_id, message_ids); their number.

        Harmless to repeat: a letter that went back is no longer there, and consumers take one twice.
        """
        handled: int = 0
        while True:
            outcome = self._with_retries(lambda: self.client.redrive(queue, rate_per_second=rate, **which))
            handled += int(outcome["handled"])
            if outcome["done"] or not outcome["handled"]:
                return handled

    def redrive_all(self, *, rate: float, **which: Any) -> dict[str, int]:
        """The same for every queue that has any."""
        return {
            queue: self.redrive_queue(queue, rate=rate, **which)
            for queue, letters in self.count_messages().items()
            if letters
        }

    def _with_retries[T](self, call: Callable[[], T]) -> T:
        for _ in range(_TRIES - 1):
            try:
                return call()
            except RetryableError:
                self.sleep(_PAUSE_SECONDS)
        return call()


def run_command(arguments: Sequence[str], client: AdminClient) -> Any:
    """What the command answers, as JSON. Raises ProxyError with the API's own words."""
    options = _parser().parse_args(arguments)
    redrive = Redriver(client)
    if options.queue is None:
        return redrive.count_messages()
    if options.peek is not None:
        return client.list_dead_letters(options.queue, limit=options.peek, with_bodies=options.bodies)
    which = _which(options)
    if options.queue == "all":
        return redrive.redrive_all(rate=options.rate, **which)
    return {options.queue: redrive.redrive_queue(options.queue, rate=options.rate, **which)}


def _which(options: argparse.Namespace) -> Mapping[str, Any]:
    asked = {"tenant": options.tenant, "job_id": options.job, "message_ids": options.message}
    return {name: value for name, value in asked.items() if value}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Dead letters: count them, look at them, send them back.")
    parser.add_argument("queue", nargs="?", help="one queue's name, or `all`; without it they are counted")
    parser.add_argument("--peek", type=int, metavar="N", help="only show so many")
    parser.add_argument("--bodies", action="store_true", help="with their bodies, which can hold outputs")
    parser.add_argument("--tenant", help="only this tenant's")
    parser.add_argument("--job", help="only this job's")
    parser.add_argument("--message", action="append", default=[], help="only this message; can be repeated")
    parser.add_argument("--rate", type=float, default=20.0, help="messages a second")
    return parser


def format_json(answer: Any) -> str:
    """The answer as an operator reads it."""
    return json.dumps(answer, indent=2, ensure_ascii=False)
