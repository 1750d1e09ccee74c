"""Run many seeds on all cores, and sum up what they did."""

from __future__ import annotations

import gc
import multiprocessing
import operator
import os
import time
from collections import Counter
from dataclasses import dataclass, field, fields, replace
from itertools import count
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, cast

from tools.simulation.cost_invariants import Reconciliation
from tools.simulation.run import RunResult, RunSettings, run_seed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess

    from tools.simulation.invariants import Violation

_SEEDS_PER_TASK = 4


@dataclass(slots=True)
class Campaign:
    """The sums over all seeds that have run."""

    seeds: int = 0
    jobs: int = 0
    steps: int = 0
    virtual_seconds: float = 0.0
    violations: dict[int, Violation] = field(default_factory=dict)
    faults: Counter[str] = field(default_factory=Counter)
    checkpoints: Counter[str] = field(default_factory=Counter)
    transitions: set[tuple[str, str]] = field(default_factory=set)
    statuses: Counter[str] = field(default_factory=Counter)
    past_attempts: Counter[str] = field(default_factory=Counter)
    large_batches: Counter[str] = field(default_factory=Counter)
    reads: Counter[str] = field(default_factory=Counter)
    money: Reconciliation = field(default_factory=Reconciliation)

    def add(self, result: RunResult) -> None:
        self.seeds += 1
        self.jobs += result.accepted
        self.steps += result.trace.count
        self.virtual_seconds += result.virtual_seconds
        if result.violation is not None:
            self.violations[result.seed] = result.violation
        self.faults.update(result.faults)
        self.checkpoints.update(result.checkpoints)
        self.transitions |= result.transitions
        self.statuses.update(result.statuses)
        self.past_attempts.update(result.past_attempts)
        self.large_batches.update(result.large_batches)
        self.reads.update(result.reads)
        self.money += result.money

    def merge(self, other: Campaign) -> None:
        """Add the sums over other seeds."""
        for name in (each.name for each in fields(self)):
            combine = operator.or_ if name in {"violations", "transitions"} else operator.add
            setattr(self, name, combine(getattr(self, name), getattr(other, name)))


def run_seeds(seeds: list[int], settings: RunSettings, connection: Connection) -> None:
    """Run some seeds in a process of their own, and send their sums.

    What the runs leave is freed when the process ends, which takes less time than collecting garbage.
    """
    gc.disable()
    campaign = Campaign()
    for seed in seeds:
        campaign.add(run_seed(seed, settings))
    connection.send(campaign)


class _Processes:
    """Runs seeds in parallel. Each task has a process, forked from this one with everything it has loaded."""

    def __init__(self, settings: RunSettings) -> None:
        self._settings = settings
        self._context = multiprocessing.get_context("fork")
        self._running: dict[Connection, tuple[list[int], BaseProcess]] = {}
        # What is loaded and compiled at first use takes two seconds, which the processes need not repeat.
        run_seed(0, replace(settings, jobs=3))

    def __len__(self) -> int:
        return len(self._running)

    def start(self, seeds: list[int]) -> None:
        receiver, sender = self._context.Pipe(duplex=False)
        process = self._context.Process(target=run_seeds, args=(seeds, self._settings, sender), daemon=True)
        process.start()
        # The process has the only other end of the pipe, which closes when it ends.
        sender.close()
        self._running[receiver] = (seeds, process)

    def wait(self) -> Iterator[Campaign]:
        """Wait until processes have run their seeds, and yield the sums of each."""
        for ready in wait(list(self._running)):
            receiver = cast("Connection", ready)
            seeds, process = self._running.pop(receiver)
            try:
                yield receiver.recv()
            except EOFError:
                raise RuntimeError(f"the process that runs the seeds {seeds} has failed") from None
            finally:
                receiver.close()
                process.join()


def run_campaign(
    *,
    first_seed: int,
    max_seeds: int | None,
    max_seconds: float | None,
    settings: RunSettings,
    workers: int | None = None,
    on_progress: Callable[[Campaign], None] = lambda _: None,
) -> Campaign:
    """Run seeds from `first_seed` on, until their number or the time is reached."""
    campaign = Campaign()
    workers = workers or os.cpu_count() or 1
    end = time.perf_counter() + max_seconds if max_seconds else float("inf")
    tasks = _split(first_seed, max_seeds)
    processes = _Processes(settings)
    while True:
        while len(processes) < workers and time.perf_counter() < end:
            seeds = next(tasks, None)
            if seeds is None:
                break
            processes.start(seeds)
        if not processes:
            return campaign
        for part in processes.wait():
            campaign.merge(part)
        on_progress(campaign)


def _split(first_seed: int, max_seeds: int | None) -> Iterator[list[int]]:
    for start in count(0, _SEEDS_PER_TASK):
        size = _SEEDS_PER_TASK if max_seeds is None else min(_SEEDS_PER_TASK, max_seeds - start)
        if size <= 0:
            return
        yield list(range(first_seed + start, first_seed + start + size))
