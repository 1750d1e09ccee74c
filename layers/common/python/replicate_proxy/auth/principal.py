"""The caller behind a request, as the authorizer described it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from replicate_proxy.errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Principal"]


@dataclass(frozen=True, slots=True)
class Principal:
    """A tenant's key or token. `scopes`: see auth/scopes.py. `models` are `owner/name`; empty allows all."""

    tenant: str
    key_id: str
    scopes: frozenset[str] = field(default_factory=frozenset)
    models: tuple[str, ...] = ()

    @classmethod
    def from_authorizer(cls, context: Mapping[str, Any]) -> Principal:
        """From `requestContext.authorizer`, whose values API Gateway hands over as strings."""
        tenant = str(context.get("tenant") or "")
        if not tenant:
            raise ApiError(401, "Unauthenticated", "You did not pass a valid authentication token")
        return cls(
            tenant=tenant,
            key_id=str(context.get("key_id") or ""),
            scopes=frozenset(str(context.get("scopes") or "").split()),
            models=tuple(str(context.get("models") or "").split()),
        )

    def require(self, scope: str) -> Principal:
        """The caller itself; raises a 403 ApiError where it lacks the scope."""
        if scope not in self.scopes:
            raise ApiError(403, "Forbidden", f"This API key lacks the scope {scope}")
        return self
