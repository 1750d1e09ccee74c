"""Count, inspect and redrive dead letters through the admin API.

export REPLICATE_PROXY_URL=https://…/prod REPLICATE_PROXY_ADMIN_KEY=rp_…
.venv/bin/python -m tools.cli.redrive                     count the dead letters of each queue
.venv/bin/python -m tools.cli.redrive dispatch --peek 10  show ten messages
.venv/bin/python -m tools.cli.redrive dispatch --tenant acme --rate 20
.venv/bin/python -m tools.cli.redrive all
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from replicate_proxy.errors import RetryableError
from tools.cli.admin_client import AdminClient
from tools.cli.console import print_result
from tools.terminal import run_tool

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


_MAX_ATTEMPTS = 5
_RETRY_DELAY_SECONDS = 2.0


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse_arguments(arguments)
    return print_result(lambda: run_command(options, AdminClient.from_environment(os.environ)))


def parse_arguments(
    arguments: Sequence[str] | None = None, *, prog: str = ".venv/bin/python -m tools.cli.redrive"
) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=prog,
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("queue", nargs="?", help="name of a queue, or all; without it, count the messages")
    parser.add_argument("--peek", type=int, metavar="N", help="show at most N messages, redrive none")
    parser.add_argument("--bodies", action="store_true", help="show bodies, too, which can contain outputs")
    parser.add_argument("--tenant", help="only messages of this tenant")
    parser.add_argument("--job", help="only messages of this job")
    parser.add_argument("--message", action="append", default=[], help="only this message; repeatable")
    parser.add_argument("--rate", type=float, default=20.0, help="messages per second")
    return parser.parse_args(arguments)


def run_command(options: argparse.Namespace, client: AdminClient) -> Any:
    """Return counts, messages, or the numbers of redriven messages by queue.

    Raises ProxyError with the error message of the admin API.
    """
    redriver = Redriver(client)
    if options.queue is None:
        return redriver.count_messages()
    if options.peek is not None:
        return client.list_dead_letters(options.queue, limit=options.peek, with_bodies=options.bodies)
    filters = {"tenant": options.tenant, "job_id": options.job, "message_ids": options.message}
    filters = {name: value for name, value in filters.items() if value}
    if options.queue == "all":
        return redriver.redrive_all(rate_per_second=options.rate, **filters)
    return {options.queue: redriver.redrive_queue(options.queue, rate_per_second=options.rate, **filters)}


@dataclass(frozen=True)
class Redriver:
    """Redrives with as many requests as necessary; requests that fail temporarily are retried."""

    client: AdminClient
    sleep: Callable[[float], None] = time.sleep

    def count_messages(self) -> dict[str, int]:
        """Return the number of messages by queue, including those that are being processed."""
        queues = self._with_retries(self.client.list_queues)
        return {
            queue["name"]: queue["dead_letters"]["waiting"] + queue["dead_letters"]["in_flight"]
            for queue in queues
        }

    def redrive_queue(self, queue: str, *, rate_per_second: float, **filters: Any) -> int:
        """Redrive the messages of a queue that match the filters; return their number.

        The filters are `tenant`, `job_id` and `message_ids`. It is safe to repeat: redriven messages are no
        longer in the queue, and consumers handle a repeated message.
        """
        handled: int = 0
        while True:
            result = self._with_retries(
                lambda: self.client.redrive(queue, rate_per_second=rate_per_second, **filters)
            )
            handled += int(result["handled"])
            if result["done"] or not result["handled"]:
                return handled

    def redrive_all(self, *, rate_per_second: float, **filters: Any) -> dict[str, int]:
        """Redrive all queues that have messages; return the numbers of messages of all queues."""
        return {
            queue: self.redrive_queue(queue, rate_per_second=rate_per_second, **filters) if count else 0
            for queue, count in self.count_messages().items()
        }

    def _with_retries[T](self, request: Callable[[], T]) -> T:
        for _ in range(_MAX_ATTEMPTS - 1):
            try:
                return request()
            except RetryableError:
                self.sleep(_RETRY_DELAY_SECONDS)
        return request()


if __name__ == "__main__":
    sys.exit(run_tool(main))
