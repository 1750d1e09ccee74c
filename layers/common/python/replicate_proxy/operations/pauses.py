"""Pause and resume predictions, and webhooks to applications."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from replicate_proxy.audit.model import AuditAction
from replicate_proxy.clock import format_timestamp
from replicate_proxy.observability import logger
from replicate_proxy.pauses.pause import ALL_TENANTS, Pause, PausedActivity

if TYPE_CHECKING:
    from collections.abc import Mapping

    from replicate_proxy.audit.log import AuditLog
    from replicate_proxy.pauses.pause import PauseMode, Pauses, PauseStore
    from replicate_proxy.ports import Clock


class PauseService:
    """Pauses and resumes an activity for a tenant, or for all tenants (None)."""

    def __init__(self, *, stores: Mapping[PausedActivity, PauseStore], clock: Clock, audit: AuditLog) -> None:
        self._stores = stores
        self._clock = clock
        self._audit = audit

    def read(self, activity: PausedActivity = PausedActivity.PREDICTIONS) -> Pauses:
        """Return the pauses of an activity."""
        return self._stores[activity].read()

    def pause(self, activity: PausedActivity, tenant: str | None, mode: PauseMode, reason: str) -> None:
        """Pause, in place of an earlier pause of the same activity and tenant."""
        name = tenant or ALL_TENANTS
        pause = Pause(mode, format_timestamp(self._clock.now()), reason)
        logger.warning(
            "paused by operator", activity=activity.value, for_tenant=tenant, mode=mode.value, reason=reason
        )
        with self._audit.change(
            AuditAction.PAUSE, activity.value, tenant=tenant, before=self._describe(activity, name)
        ) as change:
            self._stores[activity].put(name, pause)
            change.after = asdict(pause)

    def resume(self, activity: PausedActivity, tenant: str | None) -> None:
        """End the pause of a tenant, or that of all."""
        name = tenant or ALL_TENANTS
        logger.warning("resumed by operator", activity=activity.value, for_tenant=tenant)
        with self._audit.change(
            AuditAction.RESUME, activity.value, tenant=tenant, before=self._describe(activity, name)
        ):
            self._stores[activity].remove(name)

    def _describe(self, activity: PausedActivity, name: str) -> dict[str, Any] | None:
        pause = self._stores[activity].read().get(name)
        return asdict(pause) if pause else None
