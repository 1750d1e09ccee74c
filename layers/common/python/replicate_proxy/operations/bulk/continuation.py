"""Has the worker of bulk operations go on: a part of the sweep."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from replicate_proxy.errors import PermanentError, RetryableError
from replicate_proxy.observability import logger

if TYPE_CHECKING:
    from collections.abc import Sequence

    from replicate_proxy.operations.bulk.ports import WorkerStarter


class RunningOperations(Protocol):
    """Knows which operations run."""

    def list_ids(self, limit: int) -> Sequence[str]: ...


@dataclass(frozen=True, slots=True)
class BulkContinuation:
    """Starts the worker while an operation runs."""

    operations: RunningOperations
    starter: WorkerStarter

    def start_worker(self) -> None:
        """Start the worker if it has something to do. A failure is left to the next sweep."""
        try:
            if self.operations.list_ids(limit=1):
                self.starter.start()
        except (PermanentError, RetryableError) as error:
            logger.warning("bulk operations not continued", reason=str(error))
