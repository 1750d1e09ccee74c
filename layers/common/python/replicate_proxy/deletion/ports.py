"""The ports of deletion: rows and objects to remove. Every removal can be repeated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from replicate_proxy.deletion.model import Deletion
    from replicate_proxy.jobs.model import Job
    from replicate_proxy.ports import DueJob


class DeletionStore(Protocol):
    """Deletions, each in place of the record of its job."""

    def mark(self, job: Job, deletion: Deletion) -> None:
        """Replace the record of the job, which no read finds from then on.

        Raises ConflictError if the job was changed in between.
        """
        ...

    def get(self, tenant: str, job_id: str) -> Job | Deletion | None: ...

    def list_due(self, *, before: datetime, limit: int) -> Sequence[DueJob]:
        """Return deletions whose next pass is due, and ended jobs whose retention has ended."""
        ...

    def postpone(self, deletion: Deletion, until: datetime) -> None:
        """Set when the next pass is due."""
        ...

    def remove(self, deletion: Deletion) -> None:
        """Remove what names the job: claims of its predictions, its idempotency key.

        A batch without any other job goes as well, and the record of the deletion last.
        """
        ...


class ObjectRemover(Protocol):
    """Removes objects of the bucket."""

    def remove_all(self, prefix: str) -> int:
        """Remove all objects whose keys have the prefix, and return their number. Raises RetryableError."""
        ...


class RowRemover(Protocol):
    """Removes the rows of a job in one table."""

    def remove_job(self, tenant: str, job_id: str) -> int:
        """Remove all rows of the job, and return their number. Raises RetryableError."""
        ...
