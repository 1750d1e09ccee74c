"""Which batches are canceled, for the dispatcher: thousands of messages ask about one batch."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from replicate_proxy.errors import RetryableError
from replicate_proxy.observability import logger

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicate_proxy.ports import BatchStore

_CACHE_SECONDS = 5.0
_MAX_CACHED = 1000


class CanceledBatches:
    """Reads each batch every few seconds at most."""

    def __init__(self, store: BatchStore, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._monotonic = monotonic
        self._known: dict[tuple[str, str], tuple[bool, float]] = {}

    def is_canceled(self, tenant: str, batch_id: str) -> bool:
        """Return whether the cancel was requested. While that cannot be read, it is left to the worker."""
        is_canceled, read_at = self._known.get((tenant, batch_id), (False, float("-inf")))
        if is_canceled or self._monotonic() - read_at < _CACHE_SECONDS:
            return is_canceled
        try:
            batch = self._store.get(tenant, batch_id)
        except RetryableError as error:
            logger.warning("batch not read", batch_id=batch_id, reason=str(error))
            return False
        is_canceled = (
            batch is not None and batch.large is not None and batch.large.cancel_requested_at is not None
        )
        if len(self._known) >= _MAX_CACHED:
            self._known.clear()
        self._known[tenant, batch_id] = is_canceled, self._monotonic()
        return is_canceled
