"""Tenants' settings."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from replicate_proxy.auth.tenants import ImageDefaults, Tenant
from replicate_proxy.errors import NotFoundError

if TYPE_CHECKING:
    from replicate_proxy.api.admin.bodies import PutTenantBody
    from replicate_proxy.auth.ports import TenantStore
    from replicate_proxy.operations.ports import Stage
    from replicate_proxy.operations.usage_plans import UsagePlanKeys
    from replicate_proxy.ports import Clock


class TenantService:
    """A row a tenant; keys and jobs of a tenant do not depend on it."""

    def __init__(self, *, store: TenantStore, usage_plan_keys: UsagePlanKeys, clock: Clock) -> None:
        self._store = store
        self._seats = usage_plan_keys
        self._clock = clock

    def list(self) -> list[Tenant]:
        return self._store.list()

    def get(self, name: str) -> Tenant:
        """Raises NotFoundError for a tenant without settings."""
        tenant = self._store.get(name)
        if tenant is None:
            raise NotFoundError("no such tenant")
        return tenant

    def put(self, name: str, wanted: PutTenantBody, stage: Stage) -> Tenant:
        """Replaces the settings as a whole; repeating it changes nothing but `updated_at`."""
        now = self._clock.now()
        before = self._store.get(name) or Tenant(name, created_at=now)
        after = replace(
            before,
            display_name=wanted.display_name,
            images=ImageDefaults(wanted.images.format, wanted.images.quality),
            updated_at=now,
        )
        limits = wanted.token_limits.to_limits() if wanted.token_limits else None
        if before.usage_key_id is None or limits != before.token_limits:
            seat = self._seats.assign(f"{name}-tokens", limits, stage)
            after = replace(
                after, token_limits=seat.limits, usage_key_id=seat.usage_key_id, usage_key=seat.usage_key
            )
        self._store.save(after)
        if after.usage_key_id != before.usage_key_id:
            self._seats.remove(before.usage_key_id)
        return after

    def delete(self, name: str) -> None:
        """Back to the defaults. Keys go on working; revoke them to shut a tenant out."""
        self._seats.remove(self.get(name).usage_key_id)
        self._store.delete(name)
