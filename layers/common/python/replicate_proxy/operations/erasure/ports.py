"""What the erasure of tenants needs from outside. Every change can be repeated."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from replicate_proxy.operations.erasure.model import Erasure, ErasurePage
    from replicate_proxy.operations.ports import Stage


class ErasureStore(Protocol):
    """Keeps the last erasure of each tenant, and marks of those that go on, by which the sweep finds them."""

    def create(self, erasure: Erasure) -> Erasure:
        """Store an erasure in place of an earlier one that is completed, and return it as stored.

        Raises ConflictError if one goes on.
        """
        ...

    def get(self, tenant: str) -> Erasure | None: ...

    def replace(self, erasure: Erasure) -> Erasure:
        """Store the progress, and return it with the next revision.

        Raises ConflictError if the stored one has another.
        """
        ...

    def close(self, erasure: Erasure) -> None:
        """Remove the mark of a completed erasure."""
        ...

    def list_due(self, now: datetime) -> Sequence[Erasure]:
        """Return erasures with something to do, also completed ones that are not closed."""
        ...


class TenantAccess(Protocol):
    """Keeps the tenant out."""

    def block(self, tenant: str, since: datetime, stage: Stage) -> None:
        """Mark the tenant as being erased, and revoke its keys, so that the next request is refused."""
        ...

    def unblock(self, tenant: str, since: datetime) -> None:
        """Remove the mark of this erasure, and with it the last record of the tenant."""
        ...


class TenantPredictions(Protocol):
    """The predictions and large batches of a tenant."""

    def cancel_batches(self, tenant: str) -> None:
        """Let no large batch create further predictions."""
        ...

    def list_page(self, tenant: str, cursor: str | None) -> tuple[ErasurePage, int]:
        """Cancel the unfinished predictions of a page; return the ended ones, and how many are unfinished."""
        ...

    def delete(self, tenant: str, job_ids: Sequence[str]) -> None:
        """Replace the records by those of deletions, which the sweep removes once nothing can come late."""
        ...


class TenantPlace(Protocol):
    """A place where data of tenants is: a table, or a prefix of the bucket."""

    def read(self, tenant: str, cursor: str | None, *, is_last_pass: bool) -> ErasurePage:
        """Return a page of what is the tenant's and can be removed now.

        Before the last pass, that leaves out the records of deletions, and rows that recognize late messages.
        """
        ...

    def remove(self, items: Sequence[str]) -> None: ...


class TenantSettings(Protocol):
    """What is kept of a tenant outside of these places."""

    def remove(self, tenant: str) -> None:
        """Remove pauses, limits, unfinished uploads, and the accounts at Replicate with their secrets."""
        ...
