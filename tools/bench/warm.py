"""Measure the processor time of our own code for each request or message, in warm functions.

Each handler runs as built, in a process of its own, with the sample that shows its main work, against a
local stack. Of the processor time of the process, that within calls of the AWS SDK and of requests is left
out. Then more samples run under a profiler, which shows the lines with the most time.
"""

from __future__ import annotations

import sys

from tools.bench.results import record_result
from tools.handlers.stack import run_lab
from tools.local.invoke.samples import MAIN_SAMPLES

EVENTS = 31
PROFILED_EVENTS = 10
MAX_MILLISECONDS = 5.0
# Decodes and encodes images.
_WITHOUT_TARGET = {"harvest"}
# What the main sample does not show.
_MORE_SAMPLES = ("ingest/create_for_model", "query/list", "track/started")


def main() -> int:
    """Measure and record. Return 0, whether or not the targets are met."""
    samples = [f"{function}/{name}" for function, name in MAIN_SAMPLES.items()]
    with run_lab() as lab:
        for sample in (*samples, *_MORE_SAMPLES):
            run = lab.run(sample, EVENTS, profiled=PROFILED_EVENTS)
            milliseconds = run.median("own_cpu_seconds") * 1000
            name = sample.partition("/")[0] if sample in samples else sample.replace("/", ".")
            has_target = name not in _WITHOUT_TARGET and sample not in _MORE_SAMPLES
            record_result(
                f"warm.{name}",
                round(milliseconds, 2),
                "ms",
                f"<= {MAX_MILLISECONDS:g}" if has_target else "",
                milliseconds <= MAX_MILLISECONDS if has_target else None,
            )
            record_result(f"warm.{name}.with_sdk", round(run.median("cpu_seconds") * 1000, 2), "ms")
            print(f"    calls: {', '.join(run.warm[-1].calls) or 'none'}")
            for line, line_milliseconds in run.profile:
                print(f"    {line_milliseconds:8.3f} ms  {line}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
