"""Has the worker of large batches go on: a part of the sweep."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from replicate_proxy.errors import PermanentError, RetryableError
from replicate_proxy.observability import logger

if TYPE_CHECKING:
    from datetime import datetime

    from replicate_proxy.batches.ports import WorkerStarter
    from replicate_proxy.ports import Clock


class DueBatches(Protocol):
    """Knows whether a batch has to be looked at."""

    def has_due(self, now: datetime) -> bool: ...


@dataclass(frozen=True, slots=True)
class BatchContinuation:
    """Starts the worker while a batch runs, or when one has expired."""

    store: DueBatches
    starter: WorkerStarter | None
    clock: Clock

    def start_worker(self) -> None:
        """Start the worker if it has something to do. A failure is left to the next sweep."""
        try:
            if self.starter is not None and self.store.has_due(self.clock.now()):
                self.starter.start()
        except (PermanentError, RetryableError) as error:
            logger.warning("batches not continued", reason=str(error))
