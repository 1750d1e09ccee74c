"""What large batches need from outside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from replicate_proxy.batches.model import BatchCounts
    from replicate_proxy.jobs.model import Batch, Job


class BatchCountReader(Protocol):
    """Reads what the usage function has counted."""

    def read_counts(self, tenant: str, batch_id: str) -> BatchCounts: ...


class LargeBatchStore(Protocol):
    """Large batches, their jobs, and when the worker looks at them next."""

    def create(self, batch: Batch) -> Batch:
        """Store the batch and return it with its first revision. Raises ConflictError if its ID is taken."""
        ...

    def get(self, tenant: str, batch_id: str) -> Batch | None: ...

    def replace(self, batch: Batch) -> Batch:
        """Store the batch and return it with its next revision.

        Raises ConflictError if the stored revision is another.
        """
        ...

    def hasten(self, batch: Batch) -> Batch:
        """Do the same with a batch that is due earlier than the stored one."""
        ...

    def list_due(self, now: datetime, *, limit: int) -> Sequence[Batch]:
        """Return batches that the worker has to look at, those that have waited for the longest first."""
        ...

    def replace_with_jobs(self, batch: Batch, jobs: Sequence[Job]) -> Batch:
        """Replace the batch and write all the jobs, or nothing. Raises ConflictError also if a job exists."""
        ...

    def remove(self, batch: Batch) -> None:
        """Remove the rows of the batch, without those of its jobs."""
        ...


class BatchObjects(Protocol):
    """Input files, the slices of their lines, and files of results."""

    def read_range(self, key: str, position: int, length: int) -> bytes:
        """Return that part of an object. Raises NotFoundError if it is gone, or ends before the part."""
        ...

    def put(self, key: str, body: bytes) -> None: ...

    def read(self, key: str) -> bytes:
        """Raise NotFoundError if there is no such object."""
        ...

    def exists(self, key: str) -> bool: ...

    def start_upload(self, key: str) -> str: ...

    def upload_part(self, key: str, upload: str, number: int, body: bytes) -> str:
        """Return the tag of the part. Raises NotFoundError if the upload has ended."""
        ...

    def complete_upload(self, key: str, upload: str, parts: Sequence[str]) -> None:
        """Raise NotFoundError if the upload has ended, or has another part than one of these by now."""
        ...
