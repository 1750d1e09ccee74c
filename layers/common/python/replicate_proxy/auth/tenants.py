"""A tenant's name and settings. Pure.

Tenants' settings for functions that need them on every job: read at most once a minute.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from replicate_proxy.errors import RetryableError
from replicate_proxy.observability import logger

if TYPE_CHECKING:
    from datetime import datetime

    from replicate_proxy.auth.keys import UsageLimits
    from replicate_proxy.auth.ports import TenantLookup
    from replicate_proxy.ports import Clock


# Tenants are parts of table keys and object keys: no `#`, `/` or `.` can be in a name.
_SHAPE = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)


def is_tenant_name(name: str) -> bool:
    """1 to 63 lower-case letters, digits and inner hyphens."""
    return _SHAPE.fullmatch(name) is not None


@dataclass(frozen=True)
class ImageDefaults:
    """What harvest does to images where a request does not say; None leaves it to the deployment."""

    format: str | None = None
    quality: int | None = None


_NO_DEFAULTS = ImageDefaults()


@dataclass(frozen=True)
class Tenant:
    """One tenant. Without a row it has these defaults: a key is enough to begin.

    `token_limits` and the usage key are those of callers with a token of the identity provider; API keys
    have their own.
    """

    name: str
    display_name: str = ""
    images: ImageDefaults = _NO_DEFAULTS
    token_limits: UsageLimits | None = None
    usage_key_id: str | None = None
    usage_key: str | None = field(default=None, repr=False)
    created_at: datetime | None = None
    updated_at: datetime | None = None


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
