"""The gate that dispatch asks, the store of slots and lines, and that of the limits of tenants."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from replicate_proxy.concurrency.model import Limit, Slots, WaitingJob
    from replicate_proxy.jobs.model import Job

type TenantLimits = Mapping[str, int]
"""The greatest number of concurrent predictions, by tenant."""


class TenantLimitStore(Protocol):
    """Keeps the limits of tenants: `aws.tenant_limit_store.DynamoTenantLimitStore`."""

    def read(self) -> TenantLimits: ...

    def put(self, tenant: str, max_concurrency: int) -> TenantLimits:
        """Set the limit of a tenant and return all limits."""
        ...

    def remove(self, tenant: str) -> TenantLimits:
        """Remove the limit of a tenant and return those that are left."""
        ...


class LineReader(Protocol):
    """Reads about lines: how many wait ahead of a job."""

    def count_ahead(self, limit_name: str, position: str, *, at_most: int) -> int:
        """Return how many jobs of the line were accepted before this one, counting up to `at_most`."""
        ...


class SlotStore(LineReader, Protocol):
    """Slots and lines by the name of the limit: `aws.slot_store.DynamoSlotStore`.

    Everything may be repeated. Raises RetryableError.
    """

    def acquire(self, limit: Limit, holder: str, revision: int) -> bool:
        """Take a slot, or renew it for this revision; False if all are taken or others wait in line."""
        ...

    def grant(self, limit: Limit, holders: Sequence[str]) -> bool:
        """Take slots for jobs from the line, for all or none; False if the slots have changed."""
        ...

    def release(self, limit_name: str, holder: str, *, up_to_revision: int) -> Slots:
        """Free the holder's slot if it was acquired for this revision or an earlier one.

        Returns the slots after it.
        """
        ...

    def read(self, limit_name: str) -> Slots: ...

    def join_line(self, limit_name: str, job: WaitingJob) -> None:
        """Put the job into the line, at the place of its acceptance."""
        ...

    def leave_line(self, limit_name: str, jobs: Sequence[WaitingJob]) -> None: ...

    def forget(self, limit_name: str, jobs: Sequence[WaitingJob]) -> None:
        """Remove ended jobs from the line and the slots. A limit that never was in use costs a read."""
        ...

    def list_line(self, limit_name: str, *, count: int) -> list[WaitingJob]:
        """Return the first jobs of the line."""
        ...

    def close_line(self, limit_name: str) -> None:
        """Record that no job waits, unless one has joined meanwhile."""
        ...

    def list_lines(self) -> list[str]:
        """Return the names of the limits that jobs may be waiting for."""
        ...


class ConcurrencyGate(Protocol):
    """Keeps the concurrency limits: `concurrency.gate.SlotGate`."""

    def acquire(self, job: Job) -> tuple[str, ...] | None:
        """Return the limits in which this record of the job has slots now; None if the job is held."""
        ...

    def give_back(self, limit_names: Iterable[str], current: Job) -> None:
        """Free slots that were acquired for an earlier record of the job, unless it occupies them."""
        ...

    def step_aside(self, job: Job, current: Job) -> None:
        """Free all slots of a paused job, of which `job` is the record before, and let others have them."""
        ...


class NoLimits:
    """The same interface without limits."""

    def acquire(self, job: Job) -> tuple[str, ...]:  # noqa: ARG002 - the interface
        return ()

    def give_back(self, limit_names: Iterable[str], current: Job) -> None: ...

    def step_aside(self, job: Job, current: Job) -> None: ...
