"""Interfaces of budgets to their store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from replicate_proxy.budgets.model import BudgetLimits, BudgetOwner, BudgetState, Hold
    from replicate_proxy.jobs.model import Batch, Job


class BudgetStates(Protocol):
    """Reads of budgets."""

    def list_states(self, owners: Sequence[BudgetOwner], now: datetime) -> list[BudgetState]:
        """Return the present windows of those owners, all of one tenant, that have a limit."""
        ...


class BudgetedJobs(BudgetStates, Protocol):
    """Writes jobs together with their reservations."""

    def create(self, jobs: Sequence[Job], hold: Hold, *, batch: Batch | None = None) -> None:
        """Write the jobs, the batch and the reservation, or nothing.

        A batch with a revision above 1 replaces the one before. Raises ConflictError if that is not the
        stored one, or if another ID exists, BudgetExceededError if a window has too little left,
        BudgetContentionError if others wrote at the same time, RetryableError for another failure.
        """
        ...

    def record_announcement(self, state: BudgetState, percentage: int) -> None:
        """Record that operators know that this percentage of the window's limit is used up."""
        ...


class BudgetStore(BudgetStates, Protocol):
    """The limits."""

    def get_limits(self, owner: BudgetOwner) -> BudgetLimits | None: ...

    def put_limits(self, owner: BudgetOwner, limits: BudgetLimits) -> None: ...

    def delete_limits(self, owner: BudgetOwner) -> None: ...
