"""Interfaces to the stores of keys and tenants and to the identity provider."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from datetime import datetime

    from replicate_proxy.auth.keys import ApiKey
    from replicate_proxy.auth.principal import Principal
    from replicate_proxy.auth.tenants import Tenant


class KeyLookup(Protocol):
    """The access to API keys that the authorizer needs."""

    def get(self, key_id: str) -> ApiKey | None:
        """Raise RetryableError if the store cannot be reached, as StaleKeyError if there is a copy."""

    def record_use(self, key_id: str, now: datetime) -> None:
        """Set the `last_used_at` of a key. Raise ConflictError if the key does not exist."""


class KeyStore(KeyLookup, Protocol):
    """The access to API keys that their administration needs."""

    def create(self, key: ApiKey) -> None:
        """Raise DuplicateError if a key with this ID exists."""

    def save(self, key: ApiKey) -> ApiKey:
        """Write the changed key, apart from its last use, and return it with its new revision.

        Raises ConflictError if the stored one has another revision.
        """

    def list(self, *, tenant: str | None = None) -> list[ApiKey]:
        """Return all keys, or those of one tenant, oldest first."""


class TokenVerifier(Protocol):
    """Verifies tokens of an identity provider."""

    def verify(self, token: str) -> Principal:
        """Raise UnauthenticatedError for a bad token, RetryableError if the provider cannot be reached."""


class TenantLookup(Protocol):
    """The access to tenants' settings that functions need while they serve requests and jobs."""

    def get(self, name: str) -> Tenant | None:
        """Return None for a tenant without settings. Raise RetryableError if they cannot be read."""


class TenantStore(TenantLookup, Protocol):
    """The access to tenants' settings that their administration needs."""

    def save(self, tenant: Tenant) -> Tenant:
        """Write the settings and return them with their new revision, which is 0 for those of a new tenant.

        Raises ConflictError if the stored ones have another revision.
        """

    def delete(self, name: str) -> None: ...

    def list(self) -> list[Tenant]:
        """Return all tenants that have settings, by name."""
