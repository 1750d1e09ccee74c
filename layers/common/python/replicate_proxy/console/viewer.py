"""Who looks at the console: an operator, or someone of a tenant. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicate_proxy.auth.principal import Principal, Scope
from replicate_proxy.errors import ApiError, NotFoundError

if TYPE_CHECKING:
    from datetime import datetime

    from replicate_proxy.console.session import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class Viewer:
    """`tenant` is the only one that the viewer sees, None for an operator, who sees all."""

    session: Session
    key_id: str
    key_name: str
    csrf_token: str
    scopes: frozenset[str]
    expires_at: datetime
    tenant: str | None = None
    models: tuple[str, ...] = ()
    has_budget: bool = False

    @property
    def is_operator(self) -> bool:
        return self.tenant is None

    @property
    def is_guest(self) -> bool:
        """Whether an operator's link has opened the view."""
        return self.session.tenant is not None

    @property
    def can_write(self) -> bool:
        return self.is_operator or Scope.PREDICTIONS_WRITE in self.scopes

    def require_write(self) -> None:
        """Raise a 403 ApiError if the viewer may only read."""
        if not self.can_write:
            detail = "This session may only read. Sign in with a key that has the scope predictions:write"
            raise ApiError(403, "Read-only", detail)

    def require_operator(self) -> None:
        """Raise NotFoundError for a tenant: the pages of operators do not exist for it."""
        if not self.is_operator:
            raise NotFoundError("no such page")

    def require_tenant(self, tenant: str) -> str:
        """Return the tenant. Raises NotFoundError if it is not the viewer's."""
        if self.tenant not in (None, tenant):
            raise NotFoundError("no such page")
        return tenant

    def act_for(self, tenant: str) -> Principal:
        """Return the caller of what the viewer creates for a tenant.

        An operator's prediction counts against the budget of the tenant, which is therefore read.
        """
        return Principal(
            tenant=self.require_tenant(tenant),
            key_id=self.key_id,
            scopes=self.scopes,
            models=() if self.is_operator else self.models,
            has_budget=self.is_operator or self.has_budget,
        )
