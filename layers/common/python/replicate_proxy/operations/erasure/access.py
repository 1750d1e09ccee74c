"""Keep a tenant out while it is erased: the mark in its settings, and its keys."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from replicate_proxy.errors import UnknownNameError
from replicate_proxy.observability import logger
from replicate_proxy.operations.keys import change_key
from replicate_proxy.operations.tenants import change_tenant

if TYPE_CHECKING:
    from datetime import datetime

    from replicate_proxy.auth.keys import ApiKey
    from replicate_proxy.auth.ports import KeyStore, TenantStore
    from replicate_proxy.operations.ports import Gateway, Stage
    from replicate_proxy.operations.usage_plans import UsagePlanKeys
    from replicate_proxy.ports import Clock


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTenantAccess:
    """The TenantAccess port on the stores of keys and tenants."""

    tenants: TenantStore
    keys: KeyStore
    usage_plan_keys: UsagePlanKeys
    gateway: Gateway
    clock: Clock

    def block(self, tenant: str, since: datetime, stage: Stage) -> None:
        settings = self.tenants.get(tenant)
        is_marked = settings is not None and settings.erasing_since == since
        if not is_marked:
            change_tenant(
                self.tenants, tenant, lambda current: replace(current, erasing_since=since), created_at=since
            )
        valid = [key for key in self.keys.list(tenant=tenant) if key.revoked_at is None]
        for key in valid:
            self._revoke(key)
        if valid or not is_marked:
            self.gateway.flush_authorizer_cache(stage)

    def unblock(self, tenant: str, since: datetime) -> None:
        settings = self.tenants.get(tenant)
        if settings is None or settings.erasing_since != since:
            return
        self.usage_plan_keys.remove(settings.usage_key_id)
        self.tenants.delete(tenant)

    def _revoke(self, key: ApiKey) -> None:
        # First, since a revoked key is not looked at again.
        self.usage_plan_keys.remove(key.usage_key_id)
        with suppress(UnknownNameError):  # removed meanwhile
            change_key(
                self.keys,
                key.id,
                lambda current: replace(current, revoked_at=current.revoked_at or self.clock.now()),
            )
            logger.info("key revoked", revoked_key_id=key.id, for_tenant=key.tenant)
