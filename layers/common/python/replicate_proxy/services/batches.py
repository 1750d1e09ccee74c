"""Reading batches: many predictions that were asked for together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicate_proxy.errors import NotFoundError
from replicate_proxy.ids import is_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from replicate_proxy.jobs.batch import Batch
    from replicate_proxy.jobs.model import Job
    from replicate_proxy.ports import BatchStore

__all__ = ["BatchState", "Batches"]


@dataclass(frozen=True, slots=True)
class BatchState:
    """A batch and those of its jobs that are still kept; `replayed` where an idempotency key had made it
    before.
    """

    batch: Batch
    jobs: Sequence[Job]
    replayed: bool = False


class Batches:
    """Reading batches under the caller's tenant."""

    def __init__(self, store: BatchStore) -> None:
        self._store = store

    def state(self, tenant: str, batch_id: str) -> BatchState:
        """Raises NotFoundError."""
        batch = self._store.get(tenant, batch_id) if is_id(batch_id) else None
        if batch is None:
            raise NotFoundError("no such batch")
        return BatchState(batch, self._store.jobs(batch))
