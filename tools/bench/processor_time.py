"""Where the processor time of a local stack goes: to functions, the emulated AWS, or the local Replicate."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import psutil

from tools.local.processes import find_stack_processes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tools.local.paths import StackFolder

# Reading all processes takes a tenth of a second of the processor's time.
_INTERVAL_SECONDS = 2.0
BENCHMARK = "the benchmark"
# By what the command line has; the first that fits.
_KINDS: Mapping[str, str] = {
    "replicate_proxy.images.worker": "image workers",
    "/ministack-lambda-": "functions",
    "tools.simulator": "local Replicate",
    "tools.local.output_server": "output server",
    "ministack": "emulated AWS",
}


@dataclass
class ProcessorMeter:
    """The seconds of each process of a stack, as last seen. What a process takes after that is lost."""

    folder: StackFolder
    _seen: dict[tuple[int, float], tuple[str, float]] = field(default_factory=dict)

    def sample(self) -> None:
        found = {process.pid: process for process in find_stack_processes(self.folder)}
        # Image workers have an environment of their own, so they are found by the function that started them.
        others = (process for process in psutil.process_iter(["ppid"]) if process.pid not in found)
        workers = [process for process in others if process.info["ppid"] in found]
        for process in (*found.values(), *workers):
            with suppress(psutil.Error):
                self._add(process)

    def _add(self, process: psutil.Process) -> None:
        command = " ".join(process.cmdline())
        kind = next((kind for part, kind in _KINDS.items() if part in command), "others")
        times = process.cpu_times()
        self._seen[process.pid, process.create_time()] = kind, times.user + times.system

    def sum_by_kind(self) -> defaultdict[str, float]:
        """Return the seconds of all processes so far, by kind."""
        total: defaultdict[str, float] = defaultdict(float)
        for kind, seconds in self._seen.values():
            total[kind] += seconds
        total[BENCHMARK] = time.process_time()
        return total


@contextmanager
def measure_processor_time(folder: StackFolder) -> Iterator[defaultdict[str, float]]:
    """Yield a dictionary that has, after the block, the seconds that it took of each kind of process."""
    meter, stopped = ProcessorMeter(folder), threading.Event()
    used: defaultdict[str, float] = defaultdict(float)

    def run() -> None:
        while not stopped.wait(_INTERVAL_SECONDS):
            meter.sample()

    meter.sample()
    before = meter.sum_by_kind()
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield used
    finally:
        stopped.set()
        thread.join()
        meter.sample()
        used.update({kind: seconds - before[kind] for kind, seconds in meter.sum_by_kind().items()})
