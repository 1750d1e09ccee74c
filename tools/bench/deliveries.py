"""Telling the application: how soon, and whether a receiver that often fails gets everything just once."""

from __future__ import annotations

import json
import random
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tools.bench.driving import Driver, driving, quantile
from tools.bench.results import record_result
from tools.local.loopback import receive_webhooks

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

JOBS = 300
JOBS_A_SECOND = 2  # half of what two cores drain: what is measured is the way, not the queue before it
SLOWEST_SECONDS = 5
FLAKY_JOBS = 500  # two events each: output and completed
FAILING_SHARE = 0.3


class Receiver:
    """Counts calls by webhook-id; refuses a share of them."""

    def __init__(self, failing_share: float) -> None:
        self.first_seen: dict[str, float] = {}
        self.accepted: dict[tuple[str, str], int] = {}
        self.url = ""
        self._random = random.Random(1)
        self._share = failing_share
        self._lock = threading.Lock()

    def take(self, headers: Mapping[str, str], raw: bytes) -> int:
        message_id, body = headers["webhook-id"], json.loads(raw)
        with self._lock:
            if body["status"] == "succeeded":
                self.first_seen.setdefault(body["id"], time.time())
            if self._random.random() < self._share:
                return 503
            self.accepted[body["id"], message_id] = self.accepted.get((body["id"], message_id), 0) + 1
        return 204


@contextmanager
def receiving(failing_share: float = 0) -> Iterator[Receiver]:
    receiver = Receiver(failing_share)
    with receive_webhooks(receiver.take) as origin:
        receiver.url = f"{origin}/hook"
        yield receiver


def main() -> int:
    with driving() as driver:
        _latency(driver)
        _flaky(driver)
    return 0


def _latency(driver: Driver) -> None:
    with receiving() as receiver:
        driver.burst(8, threads=4, webhook=receiver.url)  # deliver, too, is warm
        runs = driver.steadily(
            JOBS, per_second=JOBS_A_SECOND, webhook=receiver.url, webhook_events_filter=["completed"]
        )
        _until(lambda: all(run.view["id"] in receiver.first_seen for run in runs), 60)
        delays = [
            receiver.first_seen[run.view["id"]] - run.at("finished")
            for run in runs
            if run.view["id"] in receiver.first_seen
        ]
    told = len(delays)
    record_result("delivery.first_attempts", told, "jobs", f"= {JOBS}", told == JOBS)
    p50, p99 = quantile(delays, 0.5), quantile(delays, 0.99)
    record_result("delivery.first_attempt.p50", round(p50, 3), "s", "< 1", p50 < 1)
    record_result(
        "delivery.first_attempt.p99", round(p99, 3), "s", f"< {SLOWEST_SECONDS}", p99 < SLOWEST_SECONDS
    )


def _flaky(driver: Driver) -> None:
    expected = FLAKY_JOBS * 2
    with receiving(FAILING_SHARE) as receiver:
        driver.burst(FLAKY_JOBS, webhook=receiver.url)
        _until(lambda: len(receiver.accepted) >= expected, 900)
        arrived, twice = len(receiver.accepted), sum(count > 1 for count in receiver.accepted.values())
    record_result("delivery.flaky.arrived", arrived, "deliveries", f"= {expected}", arrived == expected)
    record_result("delivery.flaky.twice", twice, "deliveries", "= 0", twice == 0)


def _until(condition: Any, seconds: float) -> None:
    ends = time.monotonic() + seconds
    while not condition() and time.monotonic() < ends:
        time.sleep(0.5)


if __name__ == "__main__":
    sys.exit(main())
