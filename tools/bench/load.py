"""Load generation: a warm local stack of the benchmarks' own, and jobs that are sent through it."""

from __future__ import annotations

import math
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import requests

from tools.local.lifecycle import temporary_stack
from tools.local.paths import StackFolder
from tools.local.screen import Screen
from tools.simulator.client import SimulatorClient

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tools.local.stack import Stack


FOLDER = StackFolder("bench")
MODEL = "black-forest-labs/flux-schnell"
# Increasing numbers of jobs: the emulator starts a process for each concurrent invocation, and two cores
# cannot start forty at once.
WARM_UP_JOB_COUNTS = (1, 2, 4, 8, 8)
_TERMINAL_STATUSES = {"succeeded", "failed", "canceled"}
# The delivery retries of 75 hours in a minute and a half, so that an unreliable receiver gets every event.
_PARAMETERS = {"DeliverySchedule": "0,1,2,4,8,15,15,15,15,15"}
_REQUEST_TIMEOUT_SECONDS = 60


@dataclass(frozen=True, slots=True)
class JobRun:
    """One finished job: when its request was sent (Unix seconds), and its last JSON."""

    sent_at: float
    view: dict[str, Any]

    def get_time(self, step: str) -> float:
        """Return when the job reached a step of its timeline, in Unix seconds."""
        return datetime.fromisoformat(self.view["proxy"]["timeline"][step]).timestamp()


class LoadGenerator:
    """Sends jobs to a stack and waits for their end. `body` arguments are fields of the create request."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.simulator = SimulatorClient(url=stack.simulator_url)
        self._session = requests.Session()
        self._session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=64))
        self._headers = {"Authorization": f"Bearer {stack.api_key}"}

    def submit_job(self, **body: Any) -> tuple[float, str]:
        """Create a job. Return when the request was sent, and the job's ID."""
        sent_at = time.time()
        response = self._session.post(
            f"{self.stack.api_url}/v1/models/{MODEL}/predictions",
            json={"input": {"prompt": "bench", "output_format": "png"}, **body},
            headers=self._headers,
            timeout=_REQUEST_TIMEOUT_SECONDS,
        )
        response.raise_for_status()
        return sent_at, response.json()["id"]

    def get_job(self, job_id: str) -> dict[str, Any]:
        """Return the job as `GET /v1/predictions/{id}` shows it."""
        url = f"{self.stack.api_url}/v1/predictions/{job_id}"
        response = self._session.get(url, headers=self._headers, timeout=_REQUEST_TIMEOUT_SECONDS)
        response.raise_for_status()
        view: dict[str, Any] = response.json()
        return view

    def wait_for_end(
        self, sent_at: float, job_id: str, *, timeout_seconds: float = 180, poll_seconds: float = 0.25
    ) -> JobRun:
        """Poll the job until it is terminal. Raises TimeoutError."""
        deadline = time.monotonic() + timeout_seconds
        while time.monotonic() < deadline:
            view = self.get_job(job_id)
            if view["status"] in _TERMINAL_STATUSES:
                return JobRun(sent_at, view)
            time.sleep(poll_seconds)
        raise TimeoutError(f"job {job_id} did not end within {timeout_seconds} s")

    def run_burst(self, count: int, *, threads: int = 8, **body: Any) -> list[JobRun]:
        """Send all jobs as fast as possible, then wait for all."""
        with ThreadPoolExecutor(threads) as pool:
            submitted = list(pool.map(lambda _: self.submit_job(**body), range(count)))
            return list(
                pool.map(
                    lambda job: self.wait_for_end(*job, timeout_seconds=600, poll_seconds=1.0), submitted
                )
            )

    def run_steadily(self, count: int, *, jobs_per_second: float, **body: Any) -> list[JobRun]:
        """Send the jobs at a steady rate, then wait for all."""
        started_at, submitted = time.monotonic(), []
        for number in range(count):
            time.sleep(max(0.0, started_at + number / jobs_per_second - time.monotonic()))
            submitted.append(self.submit_job(**body))
        return [self.wait_for_end(*job) for job in submitted]

    def warm_up(self) -> None:
        """Run a few jobs, so that cold starts are not part of what is measured."""
        for count in WARM_UP_JOB_COUNTS:
            self.run_burst(count, threads=count)


@contextmanager
def run_warm_stack() -> Iterator[LoadGenerator]:
    """Run a stack for the duration of the block, and yield its load generator after the warm-up."""
    with temporary_stack(FOLDER, Screen(), _PARAMETERS) as stack:
        generator = LoadGenerator(stack)
        generator.simulator.change_settings(latency=0.3, jitter=0)
        generator.warm_up()
        yield generator


def calculate_quantile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that at least `share` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * share) - 1)]
