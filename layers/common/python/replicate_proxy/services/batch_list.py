"""Lists of batches, with the states of their jobs."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from replicate_proxy.parallel import map_in_parallel
from replicate_proxy.services.batch_reader import BatchState, read_batch_state

if TYPE_CHECKING:
    from replicate_proxy.batches.ports import BatchCountReader
    from replicate_proxy.ports import BatchStore


class BatchListPage(NamedTuple):
    """Batches, newest first; the next page has those before `next_before_id`, None at the end."""

    states: tuple[BatchState, ...]
    next_before_id: str | None


class BatchList:
    """Lists the batches of a tenant, or of all, by an index."""

    def __init__(self, store: BatchStore, counts: BatchCountReader) -> None:
        self._store = store
        self._counts = counts

    def read(self, tenant: str | None, *, before_id: str | None, limit: int) -> BatchListPage:
        """Return a page. What it reads does not depend on how many batches are stored."""
        batches = self._store.list_batches(tenant, before_id=before_id, limit=limit + 1)
        shown = batches[:limit]
        read = partial(read_batch_state, store=self._store, counts=self._counts)
        states = map_in_parallel(read, shown)
        return BatchListPage(tuple(states), shown[-1].id if len(batches) > limit else None)
