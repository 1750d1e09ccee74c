"""Measure the proxy's own time on the local stack: the overhead of single jobs, and the duration of a burst.

The emulator's times are its own: these results limit what the code adds, not what AWS would take.
"""

from __future__ import annotations

import sys
import time
from itertools import pairwise

from tools.bench.load import FOLDER, LoadGenerator, calculate_quantile, run_warm_stack
from tools.bench.processor_time import measure_processor_time
from tools.bench.results import record_result, record_samples
from tools.bench.waterfall import record_waterfall

SINGLE_JOBS = 30
# Until the record is written, until dispatch has claimed the job, and until Replicate has the request. In the
# second, the emulator looks for messages: after each look without any it rests for 50 ms.
SUBMISSION_STEPS = ("accepted", "claimed", "created")
BURST_JOBS = 300
MAX_SUBMISSION_P50_MS = 50
MAX_SUBMISSION_P99_MS = 100
MAX_COMPLETION_P50_SECONDS = 0.2
MIN_JOBS_PER_SECOND = 8


def main() -> int:
    """Measure and record. Return 0, whether or not the targets are met."""
    with run_warm_stack() as generator:
        _measure_single_jobs(generator)
        record_waterfall(generator)
        _measure_burst(generator)
    return 0


def _measure_single_jobs(generator: LoadGenerator) -> None:
    """Run one job after the other.

    Measured are the times from submission to Replicate's create call, with its steps, and from Replicate's
    completion to `succeeded`.
    """
    submission_ms, completion_seconds = [], []
    steps_ms: dict[str, list[float]] = {step: [] for step in SUBMISSION_STEPS}
    for _ in range(SINGLE_JOBS):
        run = generator.wait_for_end(*generator.submit_job(), poll_seconds=0.1)
        timeline = generator.simulator.get_timeline(run.view["proxy"]["replicate_id"])
        times = run.sent_at, run.get_time("accepted"), run.get_time("claimed"), timeline["created_at"]
        submission_ms.append((times[-1] - times[0]) * 1000)
        for (begin, end), step in zip(pairwise(times), SUBMISSION_STEPS, strict=True):
            steps_ms[step].append((end - begin) * 1000)
        completion_seconds.append(run.get_time("finished") - timeline["completed_at"])
    p50, p99 = calculate_quantile(submission_ms, 0.5), calculate_quantile(submission_ms, 0.99)
    target, met = f"<= {MAX_SUBMISSION_P50_MS}", p50 <= MAX_SUBMISSION_P50_MS
    record_result("submission_to_create_call.p50", round(p50), "ms", target, met)
    target, met = f"<= {MAX_SUBMISSION_P99_MS}", p99 <= MAX_SUBMISSION_P99_MS
    record_result("submission_to_create_call.p99", round(p99), "ms", target, met)
    record_samples("submission_to_create_call", submission_ms, "ms")
    for step, milliseconds in steps_ms.items():
        record_result(f"submission.{step}.p50", round(calculate_quantile(milliseconds, 0.5)), "ms")
    p50, p99 = calculate_quantile(completion_seconds, 0.5), calculate_quantile(completion_seconds, 0.99)
    target, met = f"<= {MAX_COMPLETION_P50_SECONDS}", p50 <= MAX_COMPLETION_P50_SECONDS
    record_result("completion_to_succeeded.p50", round(p50, 3), "s", target, met)
    record_result("completion_to_succeeded.p99", round(p99, 3), "s")
    record_samples("completion_to_succeeded", [1000 * seconds for seconds in completion_seconds], "ms")


def _measure_burst(generator: LoadGenerator) -> None:
    started_at = time.monotonic()
    with measure_processor_time(FOLDER) as used:
        runs = generator.run_burst(BURST_JOBS)
    seconds = time.monotonic() - started_at
    succeeded = sum(run.view["status"] == "succeeded" for run in runs)
    record_result("burst.succeeded", succeeded, "jobs", f"= {BURST_JOBS}", succeeded == BURST_JOBS)
    throughput = BURST_JOBS / seconds
    target, met = f">= {MIN_JOBS_PER_SECOND}", throughput >= MIN_JOBS_PER_SECOND
    record_result("burst.throughput", round(throughput, 1), "jobs/s", target, met)
    for kind, processor_seconds in sorted(used.items()):
        record_result(
            f"burst.processor.{kind}", round(processor_seconds / BURST_JOBS * 1000, 1), "ms per job"
        )


if __name__ == "__main__":
    sys.exit(main())
