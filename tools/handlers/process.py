"""Start a runner for a function of a local stack, and read what its handler took."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools.handlers import runner
from tools.local.build import build_template
from tools.local.errors import LocalError
from tools.local.invoke.outcome import find_failure
from tools.local.invoke.samples import SamplePreparer
from tools.local.invoke.template import adapt_to_samples, direct_to_emulator
from tools.local.loopback import receive_webhooks
from tools.local.paths import ROOT
from tools.local.processes import clean_environment

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from contextlib import AbstractContextManager

    from tools.local.stack import Stack

_TIMEOUT_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Invocation:
    """One event: time of the clock, of the processor, and of the processor without SDK and requests."""

    seconds: float
    cpu_seconds: float
    own_cpu_seconds: float
    calls: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HandlerRun:
    """A process that imported the handler and handled events; the first of them is the one of a cold start.

    `profile` has lines of our code with the milliseconds for each event, `memory_mb` is the highest memory.
    """

    init_seconds: float
    invocations: tuple[Invocation, ...]
    profile: tuple[tuple[str, float], ...]
    memory_mb: float

    @property
    def warm(self) -> tuple[Invocation, ...]:
        return self.invocations[1:]

    def median(self, name: str) -> float:
        """Return the median of a time of the warm invocations."""
        times: list[float] = [getattr(invocation, name) for invocation in self.warm]
        return statistics.median(times)


class HandlerLab:
    """Runs handlers with prepared samples, in a stack that does not start them itself meanwhile."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._artifacts = build_template().parent

    def run(
        self,
        sample: str,
        events: int,
        *,
        profiled: int = 0,
        limit: AbstractContextManager[Sequence[str]] | None = None,
    ) -> HandlerRun:
        """Handle so many prepared events of the sample (`<function>/<name>`), and so many under a profiler.

        `limit` gives the words to put before the command. Raises LocalError if an event fails.
        """
        function = sample.partition("/")[0]
        with receive_webhooks(lambda _headers, _body: 204) as receiver, tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            offset = self._prepare(sample, events + profiled, f"{receiver}/webhooks", folder / "events")
            environment = self._build_environment(function, folder, offset)
            with limit or nullcontext(()) as prefix:
                finished = subprocess.run(
                    [
                        *(*prefix, sys.executable, runner.__file__),
                        *(str(folder / "events"), str(folder / "results"), str(profiled)),
                    ],
                    cwd=ROOT,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    text=True,
                    timeout=_TIMEOUT_SECONDS,
                    check=False,
                )
            if finished.returncode:
                raise LocalError(f"the handler of {sample} crashed:\n{finished.stderr[-2000:]}")
            return _read_results(sample, json.loads((folder / "results").read_text(encoding="utf-8")))

    def _prepare(self, sample: str, count: int, receiver_url: str, target: Path) -> float:
        """Write the events, one on each line, and return how far the clock is ahead for them."""
        text = (ROOT / f"events/{sample}.json").read_text(encoding="utf-8")
        prepared = [SamplePreparer(self._stack, receiver_url).prepare(sample, text) for _ in range(count)]
        lines = [json.dumps(json.loads(entry.event)) for entry in prepared]
        target.write_text("\n".join(lines), encoding="utf-8")
        return max(entry.clock_offset_seconds for entry in prepared)

    def _build_environment(self, function: str, folder: Path, offset_seconds: float) -> dict[str, str]:
        name = self._stack.function_names[function]
        deployed = self._stack.get_client("lambda").get_function_configuration(FunctionName=name)
        clock = folder / "clock-offset" if offset_seconds else None
        if clock:
            clock.write_text(str(offset_seconds), encoding="utf-8")
        code = self._artifacts / f"{function.capitalize()}Function"
        return {
            **clean_environment(),
            **direct_to_emulator(
                adapt_to_samples(deployed["Environment"]["Variables"], clock), self._stack.endpoint_url
            ),
            "AWS_LAMBDA_FUNCTION_NAME": name,
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(deployed["MemorySize"]),
            runner.TIMEOUT_VARIABLE: str(deployed["Timeout"]),
            "PYTHONPATH": f"{code}:{self._artifacts / 'CommonLayer/python'}",
            "PYTHONDONTWRITEBYTECODE": "1",
        }


def _read_results(sample: str, results: dict[str, Any]) -> HandlerRun:
    return HandlerRun(
        init_seconds=results["init_seconds"],
        invocations=tuple(_read_invocations(sample, results["invocations"])),
        profile=tuple((line, milliseconds) for line, milliseconds in results["profile"]),
        memory_mb=results["memory_mb"],
    )


def _read_invocations(sample: str, entries: Sequence[dict[str, Any]]) -> Iterator[Invocation]:
    for entry in entries:
        failure = entry["failure"] or find_failure(entry["response"])
        if failure:
            raise LocalError(f"{sample}: {failure}")
        yield Invocation(
            entry["seconds"], entry["cpu_seconds"], entry["own_cpu_seconds"], tuple(entry["calls"])
        )
