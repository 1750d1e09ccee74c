"""The process that runs a handler, in the place of Lambda's runtime: imports it, and handles events in turn.

It is started with the environment of the function and the built folders as its path, so it uses the standard
library, and what the function has loaded by itself. The arguments are a file with one event on each line, the
file for the results, and how many of the events at the end are profiled.
"""

from __future__ import annotations

import cProfile
import importlib
import json
import os
import pstats
import sys
import threading
import time
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

TIMEOUT_VARIABLE = "RUNNER_TIMEOUT_SECONDS"

_OWN_CODE = ("/replicate_proxy/", "/app.py", "/aws_lambda_powertools/")
_TOP_LINES = 10


@dataclass
class CallRecorder:
    """Records the calls of the SDK and of requests, and the processor time that their threads need.

    A call within another one, such as that of an adapter by a session, is part of it.
    """

    names: list[str] = field(default_factory=list)
    seconds: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _thread: threading.local = field(default_factory=threading.local)

    def install(self) -> None:
        """Wrap what sends requests, as far as the function has loaded it."""
        botocore_client = sys.modules["botocore.client"]
        self._wrap(
            botocore_client.BaseClient,
            "_make_api_call",
            lambda client, operation, *_: f"{client.meta.service_model.service_name}:{operation}",
        )
        if "requests.sessions" in sys.modules:
            for method in ("prepare_request", "merge_environment_settings", "send"):
                self._wrap(sys.modules["requests.sessions"].Session, method, lambda *_: "")
            # Guarded requests use an adapter without a session.
            self._wrap(sys.modules["requests.adapters"].HTTPAdapter, "send", lambda *_: "")

    def take(self) -> tuple[list[str], float]:
        """Return names and time since the last call."""
        with self._lock:
            taken = self.names, self.seconds
            self.names, self.seconds = [], 0.0
        return taken

    def _wrap(self, owner: Any, method: str, describe: Callable[..., str]) -> None:
        original = getattr(owner, method)

        @wraps(original)
        def call(*args: Any, **kwargs: Any) -> Any:
            if getattr(self._thread, "is_calling", False):
                return original(*args, **kwargs)
            self._thread.is_calling, started = True, time.thread_time()
            try:
                return original(*args, **kwargs)
            finally:
                self._thread.is_calling = False
                with self._lock:
                    self.seconds += time.thread_time() - started
                    if name := describe(*args):
                        self.names.append(name)

        setattr(owner, method, call)


@dataclass(frozen=True)
class Context:
    """The attributes of a Lambda context that handlers read."""

    function_name: str = field(default_factory=lambda: os.environ["AWS_LAMBDA_FUNCTION_NAME"])
    memory_limit_in_mb: int = 512
    invoked_function_arn: str = "arn:aws:lambda:us-east-1:000000000000:function:measured"
    aws_request_id: str = "00000000-0000-0000-0000-000000000000"

    def get_remaining_time_in_millis(self) -> int:
        """Return how long the function may run. It is always the whole time."""
        return int(os.environ[TIMEOUT_VARIABLE]) * 1000


def main(event_file: str, result_file: str, profiled: str) -> None:
    """Handle the events and write what they took."""
    started = time.perf_counter()
    handler = importlib.import_module("app").lambda_handler
    init_seconds = time.perf_counter() - started
    recorder = CallRecorder()
    recorder.install()
    events = [json.loads(line) for line in Path(event_file).read_text(encoding="utf-8").splitlines()]
    split = len(events) - int(profiled)
    invocations = [_invoke(handler, event, recorder) for event in events[:split]]
    results = {
        "init_seconds": init_seconds,
        "invocations": invocations,
        "profile": _profile(handler, events[split:]),
        "memory_mb": _read_peak_memory_kb() / 1024,
    }
    Path(result_file).write_text(json.dumps(results), encoding="utf-8")


def _invoke(handler: Callable[[Any, Any], Any], event: Any, recorder: CallRecorder) -> dict[str, Any]:
    recorder.take()
    started, started_cpu = time.perf_counter(), time.process_time()
    response, failure = None, ""
    try:
        response = handler(event, Context())
    except Exception as error:  # noqa: BLE001 - reported to the process that started this one
        failure = f"{type(error).__name__}: {error}"
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - started_cpu
    calls, call_seconds = recorder.take()
    return {
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "own_cpu_seconds": max(cpu_seconds - call_seconds, 0.0),
        "calls": calls,
        "response": response,
        "failure": failure,
    }


def _profile(handler: Callable[[Any, Any], Any], events: list[Any]) -> list[tuple[str, float]]:
    """Return the lines of our code with the most time of their own, and it in milliseconds for each event."""
    if not events:
        return []
    profile = cProfile.Profile(time.process_time)
    profile.enable()
    for event in events:
        handler(event, Context())
    profile.disable()
    statistics: Any = pstats.Stats(profile)
    own = [
        (f"{_shorten(path)}:{line} {name}", seconds * 1000 / len(events))
        for (path, line, name), (_, _, seconds, _, _) in statistics.stats.items()
        if any(part in path for part in _OWN_CODE)
    ]
    return sorted(own, key=lambda entry: -entry[1])[:_TOP_LINES]


def _shorten(path: str) -> str:
    return path.partition("/CommonLayer/python/")[2] or Path(path).name


def _read_peak_memory_kb() -> int:
    """Return the highest resident size of this process, with those of the processes that it has started."""
    process_ids = ["self"]
    for file in Path("/proc/self/task").glob("*/children"):
        process_ids += file.read_text().split()
    statuses = (Path(f"/proc/{process_id}/status").read_text() for process_id in process_ids)
    return sum(int(status.partition("VmHWM:")[2].split()[0]) for status in statuses)


if __name__ == "__main__":
    main(*sys.argv[1:])
