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
from replicate_proxy.aws import deletion_store, job_records, job_store, job_stream
from replicate_proxy.batches import expander
from replicate_proxy.deletion import sweep as deletion_sweep
from replicate_proxy.net.deadline import Deadline
from replicate_proxy.replicate_api import circuit_breaker
from replicate_proxy.replicate_api.circuit_breaker_store import BreakerStore
from replicate_proxy.services import prediction_list, rendering, sweep
from tools.simulation.resources import DUE_SHARDS
from tools.template.stack import load_stack

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from replicate_proxy.aws.control_table import ControlTable
    from replicate_proxy.ports import Clock
    from replicate_proxy.replicate_api.circuit_breaker import BreakerSettings
    from tools.simulation.scheduler import Scheduler


# So that a few lines are several slices, and a few predictions several pages.
SLICE_LINES = 4
_PAGE_SIZE = 4
_MAX_READS = 2


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


def _convert_once(convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a function that converts each image of an item once.

    Images never change, each is in two records of the stream, and two functions read them.
    """
    known: dict[int, tuple[Any, Any]] = {}

    def convert_once(image: Any) -> Any:
        found = known.get(id(image))
        if found is None:
            # The image is kept, so that no other one gets its id.
            found = known[id(image)] = (image, convert(image))
        return found[1]

    return convert_once


@contextmanager
def deterministic_process(
    scheduler: Scheduler, metrics: Counter[str], *, slice_lines: int = SLICE_LINES
) -> Iterator[None]:
    """Replace time, randomness, threads and sizes; count the metrics that the code emits."""
    outside = random.Random(f"{scheduler.seed}/outside")
    # The process keeps the template, whose API deployment has the time in its name. It must be a real one.
    load_stack()

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
            (rendering, "ThreadPoolExecutor", pool),
            (expander, "SLICE_LINES", slice_lines),
            (job_records, "DUE_PARTITIONS", job_records.DUE_PARTITIONS[:DUE_SHARDS]),
            (job_store, "DUE_PARTITIONS", job_records.DUE_PARTITIONS[:DUE_SHARDS]),
            (job_records, "DELETION_PARTITIONS", job_records.DELETION_PARTITIONS[:DUE_SHARDS]),
            (deletion_store, "DELETION_PARTITIONS", job_records.DELETION_PARTITIONS[:DUE_SHARDS]),
            (job_stream, "_job_from_image", _convert_once(job_stream._job_from_image)),  # noqa: SLF001 - see there
            (prediction_list, "PAGE_SIZE", _PAGE_SIZE),
            (prediction_list, "MAX_READS", _MAX_READS),
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
