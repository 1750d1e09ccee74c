"""Which batches are canceled, for the dispatcher: thousands of messages ask about one batch."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from replicate_proxy.errors import RetryableError
from replicate_proxy.observability import logger
from replicate_proxy.timed_cache import TimedCache

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicate_proxy.ports import BatchStore

_CACHE_SECONDS = 5.0
_MAX_CACHED = 1000


class CanceledBatches:
    """Reads each batch every few seconds at most."""

    def __init__(self, store: BatchStore, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._known: TimedCache[bool] = TimedCache(_MAX_CACHED, monotonic=monotonic)

    def is_canceled(self, tenant: str, batch_id: str) -> bool:
        """Return whether the cancel was requested. While that cannot be read, it is left to the worker."""
        key = f"{tenant}#{batch_id}"
        if self._known.find(key):
            # A cancel is final.
            return True
        if self._known.find_fresh(key) is not None:
            return False
        try:
            batch = self._store.get(tenant, batch_id)
        except RetryableError as error:
            logger.warning("batch not read", batch_id=batch_id, reason=str(error))
            return False
        is_canceled = (
            batch is not None and batch.large is not None and batch.large.cancel_requested_at is not None
        )
        self._known.put(key, is_canceled, _CACHE_SECONDS)
        return is_canceled
