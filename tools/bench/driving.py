"""A local stack of the benchmarks' own, warmed up, and jobs sent through it."""

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


TERMINAL = {"succeeded", "failed", "canceled"}
MODEL = "black-forest-labs/flux-schnell"
# More and more at once: the emulator starts a process for each concurrent call, and two cores choke on forty.
WARM_UP = (1, 2, 4, 8, 8)
# The 75 hours of retries in a minute and a half: even an unreliable receiver gets all of it meanwhile.
PARAMETERS = {"DeliverySchedule": "0,1,2,4,8,15,15,15,15,15"}


@dataclass(frozen=True, slots=True)
class JobRun:
    """One job: `sent_at` is the client's clock before its POST (Unix seconds), `view` the last reply."""

    sent_at: float
    view: dict[str, Any]

    def at(self, hop: str) -> float:
        return datetime.fromisoformat(self.view["proxy"]["timeline"][hop]).timestamp()


class Driver:
    """Sends jobs to a stack and follows them to their end."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.remote = SimulatorClient(url=stack.simulator_url)
        self._session = requests.Session()
        self._session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=64))
        self._headers = {"Authorization": f"Bearer {stack.api_key}"}

    def submit(self, **body: Any) -> tuple[float, str]:
        """When it was sent, and the id."""
        sent_at = time.time()
        answer = self._session.post(
            f"{self.stack.api_url}/v1/models/{MODEL}/predictions",
            json={"input": {"prompt": "bench", "output_format": "png"}, **body},
            headers=self._headers,
            timeout=60,
        )
        answer.raise_for_status()
        return sent_at, answer.json()["id"]

    def look(self, job_id: str) -> dict[str, Any]:
        """The prediction as GET returns it."""
        answer = self._session.get(
            f"{self.stack.api_url}/v1/predictions/{job_id}", headers=self._headers, timeout=60
        )
        answer.raise_for_status()
        view: dict[str, Any] = answer.json()
        return view

    def finished(self, sent_at: float, job_id: str, *, patience: float = 180, pause: float = 0.25) -> JobRun:
        ends = time.monotonic() + patience
        while time.monotonic() < ends:
            view = self.look(job_id)
            if view["status"] in TERMINAL:
                return JobRun(sent_at, view)
            time.sleep(pause)
        raise TimeoutError(f"job {job_id} did not end within {patience} s")

    def burst(self, count: int, *, threads: int = 8, **body: Any) -> list[JobRun]:
        """Sends all at once, then waits for all."""
        with ThreadPoolExecutor(threads) as pool:
            sent = list(pool.map(lambda _: self.submit(**body), range(count)))
            return list(pool.map(lambda one: self.finished(*one, patience=600, pause=1.0), sent))

    def steadily(self, count: int, *, per_second: float, **body: Any) -> list[JobRun]:
        """Sends one after the other at an even pace, then looks at all."""
        begun, sent = time.monotonic(), []
        for number in range(count):
            time.sleep(max(0.0, begun + number / per_second - time.monotonic()))
            sent.append(self.submit(**body))
        return [self.finished(*one) for one in sent]


@contextmanager
def driving(name: str = "bench") -> Iterator[Driver]:
    """The stack, warm: cold starts are measured elsewhere."""
    with temporary_stack(StackFolder(name), Screen(), PARAMETERS) as stack:
        driver = Driver(stack)
        driver.remote.change_settings(latency=0.3, jitter=0)
        for jobs in WARM_UP:
            driver.burst(jobs, threads=jobs)
        yield driver


def quantile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` of them do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * share) - 1)]
