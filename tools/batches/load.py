"""Run a large batch on a temporary local stack whose worker is killed, and count what came of it.

Meanwhile single predictions are submitted; their delay is the time from acceptance to Replicate's create
call. `make batch-load LINES=10000` prints the results and exits with 1 if a count is wrong.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import requests

from replicate_proxy.clock import parse_timestamp
from tools.batches.memory import MemorySampler, find_memory_sizes
from tools.batches.worker import end_waits_after_crash, start_worker
from tools.bench.load import calculate_quantile
from tools.local.faults import inject_faults
from tools.local.lifecycle import temporary_stack
from tools.local.paths import StackFolder
from tools.local.screen import Screen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tools.local.stack import Stack

MAX_DELAY_SECONDS = 3.0
_SHOWN_SLOWEST = 10
_CRASHES = {
    f"batch.{step}": 0.05
    for step in ("jobs_stored", "jobs_enqueued", "lines_stored", "slice_saved", "part_written")
}
# As on AWS: with the short timeouts of a local stack, the sweep would check thousands of waiting jobs.
_OVERRIDES = {"QueuedTimeoutSeconds": "120", "WebhookTimeoutSeconds": "300", "SweepDurationSeconds": "0"}
# Replicate's own limit would stretch 10,000 lines to 18 minutes.
_CREATES_PER_MINUTE = "6000"
_SINGLE_INTERVAL_SECONDS = 2.0
_PROGRESS_INTERVAL_SECONDS = 15
# The sweep would start the worker once a minute.
_RESTART_SECONDS = 10


@dataclass
class SinglePredictions:
    """Submits single predictions, one after the other, until it is stopped; `delays` are in seconds."""

    stack: Stack
    delays: list[float] = field(default_factory=list)
    timelines: list[dict[str, str]] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)

    def run(self, count: int | None = None) -> None:
        while not self.stopped.is_set() and (count is None or len(self.delays) < count):
            created = _call(
                self.stack, "POST", "predictions", {"version": "local/lab", "input": {"output": "x"}}
            )
            while True:
                found = _call(self.stack, "GET", f"predictions/{created['id']}")
                timeline = found["proxy"]["timeline"]
                if "submitted" in timeline or found["status"] in {"succeeded", "failed"}:
                    break
                time.sleep(0.2)
            sent_at = timeline.get("submitted") or timeline["finished"]
            delay = parse_timestamp(sent_at) - parse_timestamp(timeline["accepted"])
            self.delays.append(delay.total_seconds())
            self.timelines.append(timeline)
            self.stopped.wait(_SINGLE_INTERVAL_SECONDS)

    def describe(self) -> str:
        p50, p99 = calculate_quantile(self.delays, 0.5), calculate_quantile(self.delays, 0.99)
        return f"{len(self.delays)} single predictions: p50 {p50:.2f} s, p99 {p99:.2f} s"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=10_000)
    lines = parser.parse_args().lines
    folder = StackFolder("batch-load")
    with temporary_stack(folder, Screen(), _OVERRIDES) as stack:
        _raise_rate_limit(stack)
        sampler, sizes = MemorySampler(folder, stack), find_memory_sizes(stack)
        sampler.start()
        baseline = SinglePredictions(stack)
        baseline.run(10)
        print(f"before the batch: {baseline.describe()}", flush=True)
        single = SinglePredictions(stack)
        thread = threading.Thread(target=single.run, daemon=True)
        thread.start()
        started = time.monotonic()
        with _crashing_worker(folder) as count_crashes:
            batch = _run_batch(stack, lines, count_crashes)
        seconds = time.monotonic() - started
        single.stopped.set()
        thread.join(60)
        problems = _find_problems(stack, batch, lines)
        print(f"{lines} lines in {seconds:.0f} s, {count_crashes()} crashes of the worker")
        print(f"during the batch: {single.describe()}")
        slowest = sorted(zip(single.delays, single.timelines, strict=True), key=itemgetter(0))[
            -_SHOWN_SLOWEST:
        ]
        print("\n".join(f"  {delay:.2f} s: {json.dumps(timeline)}" for delay, timeline in slowest))
        peaks = sampler.stop()
        print(_describe_memory(peaks, sizes))
        problems += [f"{name} needs more memory than it has" for name in peaks if peaks[name] > sizes[name]]
    print("\n".join(problems) or "all counts are exact")
    return 1 if problems or calculate_quantile(single.delays, 0.99) > MAX_DELAY_SECONDS else 0


def _run_batch(stack: Stack, lines: int, count_crashes: Callable[[], int]) -> dict[str, Any]:
    content = "".join(
        json.dumps({"custom_id": f"c{number}", "version": "local/lab", "input": {"output": f"o{number}"}})
        + "\n"
        for number in range(1, lines + 1)
    )
    headers = {"authorization": f"Bearer {stack.api_key}"}
    files = {"content": ("lines.jsonl", content, "application/jsonl")}
    uploaded = requests.post(f"{stack.api_url}/v1/files", headers=headers, files=files, timeout=60).json()
    batch = _call(stack, "POST", "batches", {"input_file": uploaded["id"]})
    shown = started = 0.0
    crashes = 0
    while batch["status"] != "completed":
        if count_crashes() > crashes or time.monotonic() - started > _RESTART_SECONDS:
            if count_crashes() > crashes:
                end_waits_after_crash(stack)
            crashes, started = count_crashes(), time.monotonic()
            start_worker(stack)
        batch = _call(stack, "GET", f"batches/{batch['id']}")
        if time.monotonic() - shown > _PROGRESS_INTERVAL_SECONDS:
            print(json.dumps({**batch["counts"], **batch["progress"]}), flush=True)
            shown = time.monotonic()
        time.sleep(1)
    return batch


def _find_problems(stack: Stack, batch: dict[str, Any], lines: int) -> list[str]:
    headers = {"authorization": f"Bearer {stack.api_key}"}
    url = f"{stack.api_url}/v1/batches/{batch['id']}/results"
    text = requests.get(url, headers=headers, timeout=60).text
    results = [json.loads(line) for line in text.splitlines()]
    predictions: list[str] = []
    page: str | None = f"predictions?batch={batch['id']}"
    while page:
        found = _call(stack, "GET", page)
        predictions += [each["proxy"]["replicate_id"] for each in found["results"]]
        page = found["next"].partition("/v1/")[2] if found["next"] else None
    checks = {
        f"counts are {batch['counts']}": batch["counts"]["succeeded"] == lines,
        "lines of the results are not those of the file": [result["line"] for result in results]
        == list(range(1, lines + 1)),
        "outputs are not those of the lines": all(
            result["output"] == f"o{result['line']}" for result in results
        ),
        f"{len(predictions)} predictions": len(predictions) == lines,
        "predictions ran twice": len(set(predictions)) == len(predictions),
    }
    return [problem for problem, holds in checks.items() if not holds]


@contextmanager
def _crashing_worker(folder: StackFolder) -> Iterator[Callable[[], int]]:
    log = folder.path / "batch-crashes.jsonl"
    with inject_faults(folder, log, crash=_CRASHES):
        yield lambda: len(log.read_text("utf-8").splitlines()) if log.exists() else 0


def _raise_rate_limit(stack: Stack) -> None:
    lambdas, name = stack.get_client("lambda"), stack.function_names["dispatch"]
    variables = lambdas.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
    lambdas.update_function_configuration(
        FunctionName=name,
        Environment={"Variables": {**variables, "CREATES_PER_MINUTE": _CREATES_PER_MINUTE}},
    )


def _describe_memory(peaks: Mapping[str, int], sizes: Mapping[str, int]) -> str:
    used = ", ".join(f"{name} {peak} of {sizes[name]}" for name, peak in peaks.items())
    return f"memory in MB, peak of each function: {used or 'not measured, there is no /proc'}"


def _call(stack: Stack, method: str, path: str, body: Any = None) -> dict[str, Any]:
    response = requests.request(
        method,
        f"{stack.api_url}/v1/{path}",
        json=body,
        headers={"authorization": f"Bearer {stack.api_key}"},
        timeout=120,
    )
    response.raise_for_status()
    parsed: dict[str, Any] = response.json()
    return parsed


if __name__ == "__main__":
    sys.exit(main())
