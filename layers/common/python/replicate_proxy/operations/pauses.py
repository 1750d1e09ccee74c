"""Pause and resume predictions."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from replicate_proxy.audit.model import AuditAction
from replicate_proxy.clock import format_timestamp
from replicate_proxy.observability import logger
from replicate_proxy.pauses.pause import ALL_TENANTS, Pause

if TYPE_CHECKING:
    from replicate_proxy.audit.log import AuditLog
    from replicate_proxy.pauses.pause import PauseMode, Pauses, PauseStore
    from replicate_proxy.ports import Clock


class PauseService:
    """Pauses and resumes the predictions of a tenant, or of all tenants (None)."""

    def __init__(self, *, store: PauseStore, clock: Clock, audit: AuditLog) -> None:
        self._store = store
        self._clock = clock
        self._audit = audit

    def read(self) -> Pauses:
        return self._store.read()

    def pause(self, tenant: str | None, mode: PauseMode, reason: str) -> Pauses:
        """Return all pauses after it."""
        name = tenant or ALL_TENANTS
        pause = Pause(mode, format_timestamp(self._clock.now()), reason)
        logger.warning("predictions paused by operator", for_tenant=tenant, mode=mode.value, reason=reason)
        with self._audit.change(
            AuditAction.PAUSE, "predictions", tenant=tenant, before=self._describe(name)
        ) as change:
            pauses = self._store.put(name, pause)
            change.after = asdict(pause)
        return pauses

    def resume(self, tenant: str | None) -> Pauses:
        """Return the pauses that are left."""
        name = tenant or ALL_TENANTS
        logger.warning("predictions resumed by operator", for_tenant=tenant)
        with self._audit.change(
            AuditAction.RESUME, "predictions", tenant=tenant, before=self._describe(name)
        ):
            return self._store.remove(name)

    def _describe(self, name: str) -> dict[str, Any] | None:
        pause = self._store.read().get(name)
        return asdict(pause) if pause else None
