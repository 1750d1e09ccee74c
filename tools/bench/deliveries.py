"""Measure webhook delivery: its latency, and whether an unreliable receiver gets each event exactly once."""

from __future__ import annotations

import json
import random
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tools.bench.load import LoadGenerator, calculate_quantile, run_warm_stack
from tools.bench.results import record_result, record_samples
from tools.local.loopback import receive_webhooks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

LATENCY_JOBS = 300
# Half of what two cores can process, so that the time in queues is not part of the latency.
JOBS_PER_SECOND = 2
MAX_P50_SECONDS = 0.1
MAX_P99_SECONDS = 0.5
UNRELIABLE_JOBS = 500
EVENTS_PER_JOB = 2  # output and completed
FAILURE_SHARE = 0.3


class Receiver:
    """Counts deliveries by job and `webhook-id`, and rejects a share of them."""

    def __init__(self, failure_share: float) -> None:
        self.first_seen_at: dict[str, float] = {}
        self.accepted: dict[tuple[str, str], int] = {}
        self.url = ""
        self._rng = random.Random(1)
        self._failure_share = failure_share
        self._lock = threading.Lock()

    def receive(self, headers: Mapping[str, str], body: bytes) -> int:
        """Return the status code of the response."""
        message_id, view = headers["webhook-id"], json.loads(body)
        with self._lock:
            if view["status"] == "succeeded":
                self.first_seen_at.setdefault(view["id"], time.time())
            if self._rng.random() < self._failure_share:
                return 503
            key = (view["id"], message_id)
            self.accepted[key] = self.accepted.get(key, 0) + 1
        return 204


@contextmanager
def open_receiver(failure_share: float = 0) -> Iterator[Receiver]:
    """Yield a receiver that listens on loopback for the duration of the block."""
    receiver = Receiver(failure_share)
    with receive_webhooks(receiver.receive) as origin:
        receiver.url = f"{origin}/hook"
        yield receiver


def main() -> int:
    """Measure and record. Return 0, whether or not the targets are met."""
    with run_warm_stack() as generator:
        _measure_latency(generator)
        _measure_unreliable_receiver(generator)
    return 0


def _measure_latency(generator: LoadGenerator) -> None:
    """Measure the time from a job's end to the first delivery attempt of its completed event."""
    with open_receiver() as receiver:
        generator.run_burst(8, threads=4, webhook=receiver.url)  # warms up the deliver function
        runs = generator.run_steadily(
            LATENCY_JOBS,
            jobs_per_second=JOBS_PER_SECOND,
            webhook=receiver.url,
            webhook_events_filter=["completed"],
        )
        _wait_until(lambda: all(run.view["id"] in receiver.first_seen_at for run in runs), 60)
        latencies = [
            receiver.first_seen_at[run.view["id"]] - run.get_time("finished")
            for run in runs
            if run.view["id"] in receiver.first_seen_at
        ]
    attempted = len(latencies)
    p50, p99 = calculate_quantile(latencies, 0.5), calculate_quantile(latencies, 0.99)
    target, met = f"= {LATENCY_JOBS}", attempted == LATENCY_JOBS
    record_result("delivery.first_attempts", attempted, "jobs", target, met)
    target, met = f"< {MAX_P50_SECONDS}", p50 < MAX_P50_SECONDS
    record_result("delivery.first_attempt.p50", round(p50, 3), "s", target, met)
    target, met = f"< {MAX_P99_SECONDS}", p99 < MAX_P99_SECONDS
    record_result("delivery.first_attempt.p99", round(p99, 3), "s", target, met)
    record_samples("delivery.first_attempt", [1000 * seconds for seconds in latencies], "ms")


def _measure_unreliable_receiver(generator: LoadGenerator) -> None:
    """Count the events that a receiver accepted, and those that it accepted more than once."""
    expected = UNRELIABLE_JOBS * EVENTS_PER_JOB
    with open_receiver(FAILURE_SHARE) as receiver:
        generator.run_burst(UNRELIABLE_JOBS, webhook=receiver.url)
        _wait_until(lambda: len(receiver.accepted) >= expected, 900)
        delivered = len(receiver.accepted)
        duplicated = sum(count > 1 for count in receiver.accepted.values())
    target, met = f"= {expected}", delivered == expected
    record_result("delivery.unreliable_receiver.delivered", delivered, "events", target, met)
    record_result("delivery.unreliable_receiver.duplicated", duplicated, "events", "= 0", duplicated == 0)


def _wait_until(condition: Callable[[], bool], timeout_seconds: float) -> None:
    """Wait until the condition is true or the time is over; what is missing then shows in the results."""
    deadline = time.monotonic() + timeout_seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.5)


if __name__ == "__main__":
    sys.exit(main())
