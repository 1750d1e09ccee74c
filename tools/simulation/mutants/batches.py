"""Broken variants of large batches."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from replicate_proxy.aws import batch_store, budget_store, large_batch_store, usage_store
from replicate_proxy.aws.usage_store import DynamoUsageStore
from replicate_proxy.batches import model
from replicate_proxy.batches.model import BatchPhase
from replicate_proxy.batches.worker import BatchWorker
from replicate_proxy.ids import generate_id
from tools.simulation.mutants.mutant import WITH_BATCHES, Mutant

if TYPE_CHECKING:
    from collections.abc import Callable


def _draw_id(_parent_id: str, _number: int) -> str:
    return generate_id(datetime.fromtimestamp(time.time(), UTC))


def _sum_twice(jobs: Any) -> Any:
    return {key: counts + counts for key, counts in _sum_batches(jobs).items()}


def _count_batches_apart(self: Any, jobs: Any, *, now: datetime) -> None:
    _count(self, [replace(job, batch_id=None) for job in jobs], now=now)
    for (tenant, batch_id), counts in _sum_batches(jobs).items():
        self._client.transact_write_items(
            TransactItems=[self._build_batch_addition(tenant, batch_id, counts)]
        )


def _write_progress_first(client: Any, table: str, batch: Any, jobs: Any, operation: str) -> None:
    _write_batch(client, table, batch, [], operation)
    _write_batch(client, table, None, jobs, operation)


def _complete_without_results(self: Any, batch: Any, large: Any) -> bool:
    is_ended: bool = self.counts.read_counts(batch.tenant, batch.id).ended >= large.created
    if is_ended:
        self._save(batch, phase=BatchPhase.NOTIFYING, completed_at=self.clock.now())
    return is_ended


def _wait_for_all_but_one(self: Any, batch: Any, large: Any) -> bool:
    return _check_end(self, batch, replace(large, created=large.created - 1))


def _remove_rows_only(self: Any, batch: Any) -> None:
    self.remove_rows(batch.tenant, batch.id)
    self.store.remove(batch)


def _put_without_revision(*arguments: Any) -> Any:
    items = _build_puts(*arguments)
    for item in items:
        if item["Put"].pop("ExpressionAttributeValues", None):
            del item["Put"]["ConditionExpression"]
    return items


_build_puts: Callable[..., Any] = batch_store.build_puts
_sum_batches: Callable[..., Any] = usage_store._sum_batches  # noqa: SLF001 - what is broken is private
_count: Callable[..., Any] = DynamoUsageStore.count
_write_batch: Callable[..., None] = batch_store.write_batch
_check_end: Callable[..., bool] = BatchWorker._check_end  # noqa: SLF001 - as above

BATCH_MUTANTS: tuple[Mutant, ...] = (
    # Needs a worker that ends between two calls.
    Mutant(
        "the progress of an expansion is saved before its jobs",
        "every batch ends",
        ((large_batch_store, "write_batch", _write_progress_first),),
        scenario="batch",
        script={"batch-1/8": "crash_after"},
    ),
    Mutant(
        "the ID of a line's job does not derive from the line",
        "a line has one job",
        ((model, "derive_id", _draw_id),),
        settings=WITH_BATCHES,
    ),
    Mutant(
        "the end of a line's job is counted twice",
        "the counts of a batch are the truth",
        ((usage_store, "_sum_batches", _sum_twice),),
        settings=WITH_BATCHES,
    ),
    Mutant(
        "the counts of a batch are written after the marks of its jobs",
        "every batch ends",
        ((DynamoUsageStore, "count", _count_batches_apart),),
        settings=WITH_BATCHES,
        is_slow=True,
    ),
    Mutant(
        "a batch is completed without its results",
        "the results have each line once",
        ((BatchWorker, "_check_end", _complete_without_results),),
        settings=WITH_BATCHES,
    ),
    Mutant(
        "a slice is written whatever has become of the batch",
        "a canceled batch ends",
        (
            (batch_store, "build_puts", _put_without_revision),
            (budget_store, "build_puts", _put_without_revision),
        ),
        settings=WITH_BATCHES,
        is_slow=True,
    ),
    Mutant(
        "a batch does not wait for its last job",
        "a batch is completed after its last job",
        ((BatchWorker, "_check_end", _wait_for_all_but_one),),
        settings=WITH_BATCHES,
    ),
    Mutant(
        "the objects of a removed batch stay",
        "a batch is removed at the end of its retention",
        ((BatchWorker, "_remove", _remove_rows_only),),
        settings=WITH_BATCHES,
    ),
)
