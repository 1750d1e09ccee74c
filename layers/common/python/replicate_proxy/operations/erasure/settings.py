"""Remove what is kept of a tenant in documents that tenants share, and outside of tables and objects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from replicate_proxy.concurrency.model import name_tenant_limit

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from replicate_proxy.concurrency.ports import SlotStore, TenantLimitStore
    from replicate_proxy.files.model import StoredFile
    from replicate_proxy.files.multipart import MultipartUpload
    from replicate_proxy.pauses.pause import PauseStore

_MAX_PLACES = 100
# One page of a query. S3 ends what is left after a day.
_MAX_UPLOADS = 1000


class PendingFiles(Protocol):
    """Lists files whose upload is not completed."""

    def list_pending(self, tenant: str, *, limit: int) -> Sequence[StoredFile]: ...


class Uploads(Protocol):
    """Ends uploads, also those that have ended."""

    def abort_multipart_upload(self, key: str, upload: MultipartUpload) -> None: ...


class OwnAccounts(Protocol):
    """Accounts of tenants at Replicate."""

    def forget_tenant(self, tenant: str) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTenantSettings:
    """The TenantSettings port. Documents are written only if they name the tenant."""

    pauses: Iterable[PauseStore]
    limits: TenantLimitStore
    slots: SlotStore
    accounts: OwnAccounts
    files: PendingFiles
    uploads: Uploads

    def remove(self, tenant: str) -> None:
        for pauses in self.pauses:
            if tenant in pauses.read():
                pauses.remove(tenant)
        if tenant in self.limits.read():
            self.limits.remove(tenant)
        self._close_line(name_tenant_limit(tenant))
        self.accounts.forget_tenant(tenant)
        for file in self.files.list_pending(tenant, limit=_MAX_UPLOADS):
            if file.multipart is not None:
                self.uploads.abort_multipart_upload(file.object_key, file.multipart)

    def _close_line(self, name: str) -> None:
        """Remove the line of the tenant's limit, with places that ended predictions have left."""
        if name not in self.slots.list_lines():
            return
        while line := self.slots.list_line(name, count=_MAX_PLACES):
            self.slots.leave_line(name, line)
        self.slots.close_line(name)
