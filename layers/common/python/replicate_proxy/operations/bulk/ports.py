"""What bulk operations need from outside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from replicate_proxy.operations.bulk.model import BulkOperation, JobKey


class BulkStore(Protocol):
    """Keeps operations and their lists of jobs, as long as the records of jobs."""

    def create(self, operation: BulkOperation, keys: Sequence[JobKey]) -> BulkOperation:
        """Store a running operation with its jobs, and return it with its first revision.

        The operation exists if and only if all of it is stored. Raises ConflictError if its ID is taken.
        """
        ...

    def get(self, operation_id: str) -> BulkOperation | None: ...

    def list_jobs(self, operation: BulkOperation, limit: int) -> Sequence[JobKey]:
        """Return the next jobs of the operation, at least one if there is one.

        Raises NotFoundError if the list is gone.
        """
        ...

    def replace(self, operation: BulkOperation) -> BulkOperation:
        """Store the operation, and return it with the next revision.

        Raises ConflictError if its stored revision is another.
        """
        ...

    def list_newest(self, *, before_id: str | None, limit: int) -> Sequence[BulkOperation]: ...

    def list_running(self) -> Sequence[BulkOperation]:
        """Return the running operations, the oldest first; at most those that one worker can go on with."""
        ...
