"""Tenants' settings for functions that need them on every job: read at most once a minute."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from replicate_proxy.auth.tenants import Tenant
from replicate_proxy.errors import RetryableError
from replicate_proxy.observability import logger

if TYPE_CHECKING:
    from datetime import datetime

    from replicate_proxy.auth.ports import TenantLookup
    from replicate_proxy.ports import Clock

__all__ = ["CachedTenants"]

_FRESH = timedelta(minutes=1)
_CAPACITY = 1000


class CachedTenants:
    """Settings are preferences: where they cannot be read, the last known or the defaults do."""

    def __init__(self, tenants: TenantLookup, clock: Clock) -> None:
        self._tenants = tenants
        self._clock = clock
        self._known: dict[str, tuple[Tenant, datetime]] = {}

    def get(self, name: str) -> Tenant:
        now = self._clock.now()
        tenant, read_at = self._known.get(name, (Tenant(name), None))
        if read_at is not None and now - read_at < _FRESH:
            return tenant
        try:
            tenant = self._tenants.get(name) or Tenant(name)
        except RetryableError:
            logger.warning("a tenant's settings could not be read", tenant=name)
            return tenant
        if len(self._known) >= _CAPACITY:
            self._known.clear()
        self._known[name] = tenant, now
        return tenant
