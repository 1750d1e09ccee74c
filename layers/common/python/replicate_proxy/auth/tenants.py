"""Tenants: names, settings, and a cache for functions that need the settings for every job."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from replicate_proxy.clock import format_timestamp
from replicate_proxy.errors import ApiError, RetryableError
from replicate_proxy.observability import logger

if TYPE_CHECKING:
    from datetime import datetime

    from replicate_proxy.auth.keys import UsageLimits
    from replicate_proxy.auth.ports import TenantLookup
    from replicate_proxy.ports import Clock


# Tenant names are parts of table keys and object keys, so they must not contain `#`, `/` or `.`.
_NAME_PATTERN = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
TENANT_NAME_RULE = "must be 1 to 63 lower-case letters, digits and inner hyphens"
"""What `is_tenant_name` asks for, to say so."""
_CACHE_TTL = timedelta(minutes=1)
# As long as keys count that cannot be read again.
_MAX_KNOWN_AGE = timedelta(minutes=5)
_MAX_CACHED_TENANTS = 1000


def is_tenant_name(name: str) -> bool:
    """Return whether the name of a tenant follows TENANT_NAME_RULE."""
    return _NAME_PATTERN.fullmatch(name) is not None


@dataclass(frozen=True)
class ImageDefaults:
    """Image options for requests that set none; None means the deployment's default."""

    format: str | None = None
    quality: int | None = None


_NO_IMAGE_DEFAULTS = ImageDefaults()


@dataclass(frozen=True)
class Tenant:
    """The settings of a tenant. A tenant without stored settings has these defaults.

    `private_outputs`: its output files are stored so that only signed URLs open them.

    `token_limits`, `usage_key_id` and `usage_key` are for callers with a token of the identity provider; API
    keys have their own.
    """

    name: str
    display_name: str = ""
    images: ImageDefaults = _NO_IMAGE_DEFAULTS
    private_outputs: bool = False
    token_limits: UsageLimits | None = None
    # How long its predictions are kept with their files, None for the deployment's default.
    retention_seconds: int | None = None
    usage_key_id: str | None = None
    usage_key: str | None = field(default=None, repr=False)
    created_at: datetime | None = None
    updated_at: datetime | None = None
    # Set while all that is stored about it is removed: nothing of it is accepted.
    erasing_since: datetime | None = None
    # Grows with each save, and guards the next one.
    revision: int = 0

    def check_not_erasing(self, status: int = 403) -> None:
        """Raise an ApiError with the status if the tenant is being erased."""
        if self.erasing_since is not None:
            since = format_timestamp(self.erasing_since)
            raise ApiError(
                status, "Tenant is being erased", f"The tenant {self.name} is being erased since {since}"
            )


class CachedTenants:
    """Tenants' settings, read at most once a minute for each tenant."""

    def __init__(self, tenants: TenantLookup, clock: Clock) -> None:
        self._tenants = tenants
        self._clock = clock
        self._cache: dict[str, tuple[Tenant, datetime]] = {}

    def get(self, name: str) -> Tenant:
        """Return the tenant's settings, the last known while they cannot be read, or else the defaults.

        A job must not fail because a preference is unknown.
        """
        try:
            return self.get_known(name)
        except RetryableError:
            return self._cache[name][0] if name in self._cache else Tenant(name)

    def get_known(self, name: str) -> Tenant:
        """Return the settings of the last five minutes. Raises RetryableError if they cannot be read."""
        try:
            return self.get_current(name)
        except RetryableError:
            logger.warning("cannot read tenant settings again", tenant=name)
            cached = self._cache.get(name)
            if cached is None or self._clock.now() - cached[1] >= _MAX_KNOWN_AGE:
                raise
            return cached[0]

    def get_current(self, name: str) -> Tenant:
        """Return the settings of the last minute. Raises RetryableError if they cannot be read."""
        now = self._clock.now()
        cached = self._cache.get(name)
        if cached is not None and now - cached[1] < _CACHE_TTL:
            return cached[0]
        tenant = self._tenants.get(name) or Tenant(name)
        if len(self._cache) >= _MAX_CACHED_TENANTS:
            self._cache.clear()
        self._cache[name] = tenant, now
        return tenant
