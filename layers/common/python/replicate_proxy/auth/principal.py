"""What a caller may do, and the words that requests and keys use for it. Pure.

The caller behind a request, as the authorizer described it. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from replicate_proxy.errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Scope(StrEnum):
    """`admin` makes an operator: it opens /admin over all tenants and nothing else."""

    PREDICTIONS_READ = "predictions:read"
    PREDICTIONS_WRITE = "predictions:write"
    FILES_WRITE = "files:write"
    ADMIN = "admin"


DEFAULT_SCOPES = frozenset({Scope.PREDICTIONS_READ, Scope.PREDICTIONS_WRITE, Scope.FILES_WRITE})


def parse_scopes(words: Iterable[str]) -> frozenset[Scope]:
    """Those words that are scopes of ours; a token may carry others, which grant nothing."""
    return frozenset(Scope(word) for word in words if word in Scope)


@dataclass(frozen=True, slots=True)
class Principal:
    """A tenant's key or token. `scopes`: see auth/scopes.py. `models` are `owner/name`; empty allows all."""

    tenant: str
    key_id: str
    scopes: frozenset[str] = field(default_factory=frozenset)
    models: tuple[str, ...] = ()

    @classmethod
    def from_authorizer_context(cls, context: Mapping[str, Any]) -> Principal:
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
