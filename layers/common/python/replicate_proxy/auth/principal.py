"""Scopes, and the principal: the authenticated caller of a request."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from replicate_proxy.errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Scope(StrEnum):
    """What a caller may do. `admin` allows the admin API, for all tenants, and nothing else."""

    PREDICTIONS_READ = "predictions:read"
    PREDICTIONS_WRITE = "predictions:write"
    FILES_WRITE = "files:write"
    ADMIN = "admin"


DEFAULT_SCOPES = frozenset({Scope.PREDICTIONS_READ, Scope.PREDICTIONS_WRITE, Scope.FILES_WRITE})


def parse_scopes(names: Iterable[str]) -> frozenset[Scope]:
    """Return the scopes with these names. Others are ignored: tokens may carry scopes of other services."""
    return frozenset(Scope(name) for name in names if name in Scope)


@dataclass(frozen=True, slots=True)
class Principal:
    """The caller of a request: a tenant's API key, or a user with a token (`key_id` is `jwt:<subject>`).

    `models` are the models that the caller may run, as `owner/name`; if it is empty, all are allowed. Without
    `has_budget` neither the tenant nor the key has a budget.
    """

    tenant: str
    key_id: str
    scopes: frozenset[str] = field(default_factory=frozenset)
    models: tuple[str, ...] = ()
    has_budget: bool = False

    @classmethod
    def from_authorizer_context(cls, context: Mapping[str, Any]) -> Principal:
        """Parse `requestContext.authorizer`, whose values are strings (see auth/authorizer.py).

        Raises a 401 ApiError if it names no tenant.
        """
        tenant = str(context.get("tenant") or "")
        if not tenant:
            raise ApiError(401, "Unauthenticated", "You did not pass a valid authentication token")
        return cls(
            tenant=tenant,
            key_id=str(context.get("key_id") or ""),
            scopes=frozenset(str(context.get("scopes") or "").split()),
            models=tuple(str(context.get("models") or "").split()),
            has_budget=context.get("has_budget") == "true",
        )

    def require(self, scope: str) -> Principal:
        """Return the principal itself; raise a 403 ApiError if it lacks the scope."""
        if scope not in self.scopes:
            raise ApiError(403, "Forbidden", f"This API key lacks the scope {scope}")
        return self
