"""Read batches of either kind, with their jobs or counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicate_proxy.batches.model import NOTHING_ENDED, BatchCounts
from replicate_proxy.errors import NotFoundError
from replicate_proxy.ids import is_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from replicate_proxy.batches.ports import BatchCountReader
    from replicate_proxy.jobs.model import Batch, Job
    from replicate_proxy.ports import BatchStore


@dataclass(frozen=True, slots=True)
class BatchState:
    """A batch and those of its jobs that have not expired, or the counts of a large batch.

    `is_replay` if an earlier request with the same idempotency key created it.
    """

    batch: Batch
    jobs: Sequence[Job]
    is_replay: bool = False
    counts: BatchCounts = NOTHING_ENDED


class BatchReader:
    """Reads batches of one tenant; another tenant's batch does not exist for it."""

    def __init__(self, store: BatchStore, counts: BatchCountReader) -> None:
        self._store = store
        self._counts = counts

    def get(self, tenant: str, batch_id: str) -> BatchState:
        """Return the batch with its jobs or counts. Raises NotFoundError."""
        batch = self._store.get(tenant, batch_id) if is_id(batch_id) else None
        if batch is None:
            raise NotFoundError("no such batch")
        return read_batch_state(batch, self._store, self._counts)


def read_batch_state(batch: Batch, store: BatchStore, counts: BatchCountReader) -> BatchState:
    """Return the batch with the counts of a large one, else with its jobs."""
    if batch.large is not None:
        return BatchState(batch, (), counts=counts.read_counts(batch.tenant, batch.id))
    return BatchState(batch, store.list_jobs(batch))
