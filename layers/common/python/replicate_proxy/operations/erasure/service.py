"""Start and show erasures of tenants. The worker does the work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from replicate_proxy.audit.actor import get_actor
from replicate_proxy.audit.model import AuditAction
from replicate_proxy.auth.principal import Scope
from replicate_proxy.background_worker import start_worker
from replicate_proxy.clock import format_optional_timestamp, truncate_to_milliseconds
from replicate_proxy.errors import ApiError, ConflictError, NotFoundError, UnknownNameError, field_error
from replicate_proxy.observability import logger
from replicate_proxy.operations.erasure.model import Erasure, ErasureStatus
from replicate_proxy.operations.tenants import describe_tenant

if TYPE_CHECKING:
    from replicate_proxy.audit.log import AuditLog
    from replicate_proxy.auth.ports import KeyStore, TenantStore
    from replicate_proxy.background_worker import WorkerStarter
    from replicate_proxy.operations.erasure.ports import ErasureStore, TenantAccess
    from replicate_proxy.operations.ports import Stage
    from replicate_proxy.ports import Clock, JobPage


class JobLister(Protocol):
    """Lists the jobs of a tenant."""

    def list_jobs(self, tenant: str, *, before_id: str | None, min_id: str | None, limit: int) -> JobPage: ...


class ErasureService:
    """Use cases of the routes and pages of erasures."""

    def __init__(
        self,
        *,
        store: ErasureStore,
        tenants: TenantStore,
        keys: KeyStore,
        jobs: JobLister,
        access: TenantAccess,
        starter: WorkerStarter,
        audit: AuditLog,
        clock: Clock,
    ) -> None:
        self._store = store
        self._tenants = tenants
        self._keys = keys
        self._jobs = jobs
        self._access = access
        self._starter = starter
        self._audit = audit
        self._clock = clock

    def start(self, tenant: str, confirm: str, stage: Stage) -> tuple[Erasure, bool]:
        """Start the erasure, or return the one that goes on; and whether it was started.

        From then on the tenant's requests are refused. Raises a 422 ApiError if the name is not confirmed,
        UnknownNameError if there is no such tenant, and a 409 ApiError for a tenant of operators.
        """
        if confirm != tenant:
            raise field_error("confirm", "must be the name of the tenant, which is erased for ever")
        running = self._store.get(tenant)
        if running is not None and running.status is not ErasureStatus.COMPLETED:
            start_worker(self._starter)
            return running, False
        before = self._describe_tenant(tenant)
        actor = get_actor()
        now = truncate_to_milliseconds(self._clock.now())
        erasure = Erasure(
            tenant=tenant,
            started_at=now,
            due_at=now,
            key_id=actor.key_id,
            source=actor.source,
            correlation_id=actor.correlation_id,
            stage=stage,
        )
        with self._audit.change(
            AuditAction.START_ERASURE, build_target(tenant), tenant=tenant, before=before
        ) as change:
            try:
                erasure = self._store.create(erasure)
            except ConflictError:
                return self.get(tenant), False
            self._access.block(tenant, now, stage)
            change.after = describe_erasure(erasure)
        logger.info("erasure of tenant started", tenant=tenant)
        start_worker(self._starter)
        return erasure, True

    def find(self, tenant: str) -> Erasure | None:
        return self._store.get(tenant)

    def get(self, tenant: str) -> Erasure:
        """Return the last erasure of the tenant. Raises NotFoundError."""
        erasure = self._store.get(tenant)
        if erasure is None:
            raise NotFoundError("no such erasure")
        return erasure

    def _describe_tenant(self, tenant: str) -> dict[str, Any]:
        """Return what the audit trail has of the tenant before. Raises UnknownNameError and ApiError."""
        settings = self._tenants.get(tenant)
        active = [key for key in self._keys.list(tenant=tenant) if key.revoked_at is None]
        if any(Scope.ADMIN in key.scopes for key in active):
            raise ApiError(
                409,
                "Tenant of operators",
                "The tenant has keys with the scope admin. Revoke them before, if it is to be erased",
            )
        has_jobs = bool(self._jobs.list_jobs(tenant, before_id=None, min_id=None, limit=1).jobs)
        if settings is None and not active and not has_jobs:
            raise UnknownNameError(f"tenant {tenant} has no settings, no valid key and no prediction")
        return {"settings": describe_tenant(settings) if settings else None, "valid_keys": len(active)}


def build_target(tenant: str) -> str:
    """Return the target of audit records of an erasure."""
    return f"tenants/{tenant}/erasure"


def describe_erasure(erasure: Erasure) -> dict[str, Any]:
    """Return what an audit record says about an erasure."""
    return {
        "status": erasure.status.value,
        "removed": dict(sorted(erasure.removed.items())),
        "tombstones_until": format_optional_timestamp(erasure.tombstones_until),
    }
