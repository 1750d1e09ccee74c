"""The proxy's own time on the local stack: overhead of one job while idle, and a burst drained.

The emulator's absolute times are its own; they bound what the code does, not what AWS would take.
"""

from __future__ import annotations

import sys
import time

from tools.bench.driving import Driver, JobRun, driving, quantile
from tools.bench.results import record_result

IDLE_JOBS = 30
BURST_JOBS = 300
OVERHEAD_MS = 150


def main() -> int:
    with driving() as driver:
        _idle(driver)
        _burst(driver)
    return 0


def _idle(driver: Driver) -> None:
    """One job after another: submission to Replicate's create call, Replicate's completion to `succeeded`."""
    before, after = [], []
    for _ in range(IDLE_JOBS):
        run = driver.finished(*driver.submit(), pause=0.1)
        timeline = driver.remote.get_timeline(run.view["proxy"]["replicate_id"])
        before.append((timeline["created_at"] - run.sent_at) * 1000)
        after.append(run.at("finished") - timeline["completed_at"])
    record_result(
        "submit_to_replicate.p50",
        round(quantile(before, 0.5)),
        "ms",
        f"<= {OVERHEAD_MS}",
        quantile(before, 0.5) <= 150,
    )
    record_result("submit_to_replicate.p99", round(quantile(before, 0.99)), "ms")
    record_result(
        "completion_to_stored.p50", round(quantile(after, 0.5), 3), "s", "<= 1", quantile(after, 0.5) <= 1
    )
    record_result("completion_to_stored.p99", round(quantile(after, 0.99), 3), "s")


def _burst(driver: Driver) -> None:
    begun = time.monotonic()
    runs: list[JobRun] = driver.burst(BURST_JOBS)
    seconds = time.monotonic() - begun
    succeeded = sum(run.view["status"] == "succeeded" for run in runs)
    record_result("burst.succeeded", succeeded, "jobs", f"= {BURST_JOBS}", succeeded == BURST_JOBS)
    record_result("burst.drained", round(BURST_JOBS / seconds, 1), "jobs/s")


if __name__ == "__main__":
    sys.exit(main())
