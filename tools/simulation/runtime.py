"""Make a process deterministic while a simulation runs: time, randomness and threads are the scheduler's.

The code under test stays as it is. It reads clocks through `time`, draws random bytes through `secrets` and
`uuid`, and the sweep uses a thread pool; these are replaced for the duration of a run.
"""

from __future__ import annotations

import gc
import os
import random
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Self
from unittest import mock

from replicate_proxy import observability, parallel
from replicate_proxy.batches import expander
from replicate_proxy.deletion import sweep as deletion_sweep
from replicate_proxy.net.deadline import Deadline
from replicate_proxy.replicate_api import circuit_breaker
from replicate_proxy.replicate_api.circuit_breaker_store import BreakerStore
from replicate_proxy.services import sweep
from tools.simulation.batch_functions import SLICE_LINES

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from replicate_proxy.aws.control_table import ControlTable
    from replicate_proxy.ports import Clock
    from replicate_proxy.replicate_api.circuit_breaker import BreakerSettings
    from tools.simulation.scheduler import Scheduler


class _WorkerPool:
    """Takes the place of ThreadPoolExecutor: its workers are actors of the same process."""

    scheduler: Scheduler

    def __init__(self, max_workers: int, **_options: Any) -> None:
        self._workers = max_workers

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        return None

    def map(self, function: Callable[[Any], Any], arguments: Iterable[Any]) -> list[Any]:
        return self.scheduler.map_in_workers(function, arguments, self._workers)


class _ActorLocalStore:
    """Takes the place of the breaker's store per thread: a worker actor has one of its own."""

    scheduler: Scheduler

    def __init__(self, table: ControlTable, clock: Clock, settings: BreakerSettings, key: str) -> None:
        self._build: Callable[[], BreakerStore] = lambda: BreakerStore(
            table,
            clock,
            key=key,
            cache_seconds=settings.cache_seconds,
            probe_lease_seconds=settings.probe_lease_seconds,
        )
        self._main = self._build()
        self._note = f"store of {key}"

    @property
    def store(self) -> BreakerStore:
        actor = self.scheduler.actor
        if actor.parent is None:
            return self._main
        if self._note not in actor.notes:
            actor.notes[self._note] = self._build()
        store: BreakerStore = actor.notes[self._note]
        return store


@contextmanager
def deterministic_process(scheduler: Scheduler, metrics: Counter[str]) -> Iterator[None]:
    """Replace time, randomness and threads; count the metrics that the code emits."""
    outside = random.Random(f"{scheduler.seed}/outside")

    def read_time() -> float:
        return scheduler.now

    def draw_bytes(count: int) -> bytes:
        source = scheduler.current.random if scheduler.current is not None else outside
        return source.randbytes(count)

    def draw_uniform(low: float, high: float) -> float:
        source = scheduler.current.random if scheduler.current is not None else outside
        return low + (high - low) * source.random()

    def record_metric(metric: str, _unit: object, value: float, dimensions: Mapping[str, str]) -> None:
        metrics[" ".join([metric, *dimensions.values()])] += round(value)

    local_store = type("ActorLocalStore", (_ActorLocalStore,), {"scheduler": scheduler})
    pool = type("WorkerPool", (_WorkerPool,), {"scheduler": scheduler})
    with ExitStack() as stack:
        for target, name, replacement in (
            (time, "time", read_time),
            (time, "monotonic", read_time),
            (time, "sleep", scheduler.sleep),
            (os, "urandom", draw_bytes),
            (random, "_urandom", draw_bytes),
            (random, "uniform", draw_uniform),
            (sweep, "ThreadPoolExecutor", pool),
            (deletion_sweep, "ThreadPoolExecutor", pool),
            (parallel, "ThreadPoolExecutor", pool),
            (expander, "SLICE_LINES", SLICE_LINES),
            (circuit_breaker, "_ThreadLocalStore", local_store),
            (observability, "_record", record_metric),
        ):
            stack.enter_context(mock.patch.object(target, name, replacement))
        defaults = Deadline.__init__.__kwdefaults__ or {}
        stack.enter_context(mock.patch.dict(defaults, {"monotonic": read_time}))
        yield


@contextmanager
def garbage_collected_at_end() -> Iterator[None]:
    """Collect the cyclic garbage of a run once, after it: a run leaves only some 20 MB.

    What was created meanwhile is in the youngest generation. If collection is disabled, nothing is collected.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.collect(0)
