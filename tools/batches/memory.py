"""The memory of a local stack's functions.

The local AWS runs each environment of a function as a process, but reports the memory of all processes
together and does not limit it. So the peak of each process is read from /proc: VmHWM of its status (Linux,
proc_pid_status(5)).
"""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tools.local.paths import StackFolder
    from tools.local.stack import Stack

_INTERVAL_SECONDS = 1.0
_PEAK = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)


class MemorySampler:
    """Reads the peaks once a second, in a thread, since an environment ends with a crash."""

    def __init__(self, folder: StackFolder, stack: Stack) -> None:
        self._prefix = f"{folder.path / 'tmp'}/ministack-lambda-"
        self._names = {name: short for short, name in stack.function_names.items()}
        self._peaks: dict[str, int] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> Mapping[str, int]:
        """Return the largest peak of each function's environments in MB, by the function's short name."""
        self._stopped.set()
        self._thread.join()
        return dict(sorted(self._peaks.items()))

    def _run(self) -> None:
        while not self._stopped.wait(_INTERVAL_SECONDS):
            for process in Path("/proc").glob("[0-9]*"):
                self._sample(process)

    def _sample(self, process: Path) -> None:
        try:
            command = (process / "cmdline").read_text("utf-8")
            if self._prefix not in command:
                return
            peak = _PEAK.search((process / "status").read_text("utf-8"))
        except OSError:  # it has ended
            return
        # …/ministack-lambda-<function>-<random>/_worker.py
        name = command.partition(self._prefix)[2].partition("/")[0].rpartition("-")[0]
        if peak is not None and (function := self._names.get(name)) is not None:
            self._peaks[function] = max(self._peaks.get(function, 0), int(peak[1]) // 1024)


def find_memory_sizes(stack: Stack) -> Mapping[str, int]:
    """Return the memory that each function has, in MB, by its short name."""
    lambdas = stack.get_client("lambda")
    return {
        short: lambdas.get_function_configuration(FunctionName=name)["MemorySize"]
        for short, name in stack.function_names.items()
    }
