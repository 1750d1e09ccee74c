"""What the access part needs from outside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from datetime import datetime

    from replicate_proxy.auth.keys import ApiKey
    from replicate_proxy.auth.principal import Principal
    from replicate_proxy.auth.tenants import Tenant


class KeyLookup(Protocol):
    """What the authorizer needs of the keys."""

    def get(self, key_id: str) -> ApiKey | None:
        """Raises RetryableError where the store cannot be asked."""

    def record_use(self, key_id: str, now: datetime) -> None:
        """Records the use of a key."""


class KeyStore(KeyLookup, Protocol):
    """What administration needs of the keys."""

    def create(self, key: ApiKey) -> None:
        """Raises DuplicateError where the id is taken."""

    def replace(self, key: ApiKey, *, expected_digest: str) -> None:
        """Raises ConflictError unless the stored key still has this digest and is not revoked."""

    def list(self, *, tenant: str | None = None) -> list[ApiKey]:
        """All keys, or one tenant's, oldest first."""


class TokenVerifier(Protocol):
    """What the authorizer needs of an identity provider."""

    def verify(self, token: str) -> Principal:
        """Raises UnauthenticatedError where it proves nothing, RetryableError where nobody can tell."""


class TenantLookup(Protocol):
    """What functions need of the tenants."""

    def get(self, name: str) -> Tenant | None:
        """None for a tenant without settings of its own. Raises RetryableError where nobody can tell."""


class TenantStore(TenantLookup, Protocol):
    """What administration needs of the tenants."""

    def save(self, tenant: Tenant) -> None: ...

    def delete(self, name: str) -> None: ...

    def list(self) -> list[Tenant]: ...
