"""Workers with a function of their own: started at once, and by each sweep as long as they have work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from replicate_proxy.errors import PermanentError, RetryableError
from replicate_proxy.observability import logger

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from datetime import datetime


class WorkerStarter(Protocol):
    """Has the worker run soon, without waiting for it."""

    def start(self) -> None:
        """Raise RetryableError or PermanentError if that failed: the sweep will start it."""
        ...


class WorkerLease(Protocol):
    """Keeps two workers from running at the same time."""

    def hold(self, until: datetime) -> AbstractContextManager[bool]:
        """Hold the lease for the block, and yield whether it was free."""
        ...


def start_worker(starter: WorkerStarter | None, *, has_work: Callable[[], bool] = lambda: True) -> None:
    """Start the worker if it has something to do. A failure is left to the next sweep.

    Without a starter, the function cannot start the worker, and leaves all to the sweep.
    """
    try:
        if starter is not None and has_work():
            starter.start()
    except (PermanentError, RetryableError) as error:
        logger.warning("worker not started, left to the sweep", reason=str(error))
