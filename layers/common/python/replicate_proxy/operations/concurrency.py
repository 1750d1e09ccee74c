"""Administration of concurrency limits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicate_proxy.audit.model import AuditAction
from replicate_proxy.concurrency.model import name_model_limit, name_tenant_limit
from replicate_proxy.errors import ProxyError, UnknownNameError
from replicate_proxy.observability import logger

if TYPE_CHECKING:
    from collections.abc import Iterable

    from replicate_proxy.audit.log import AuditLog
    from replicate_proxy.concurrency.limits import ConcurrencyLimits
    from replicate_proxy.concurrency.line import WaitingLine
    from replicate_proxy.concurrency.model import WaitingJob
    from replicate_proxy.concurrency.ports import SlotStore, TenantLimits, TenantLimitStore

# Beyond every ID, so that the whole line is counted.
_LAST_POSITION = "~~"
_MAX_COUNTED = 1000
_MAX_LISTED = 100


@dataclass(frozen=True, slots=True)
class LimitState:
    """A limit with the slots in use, and how many jobs wait, counted up to a thousand."""

    name: str
    max_concurrency: int | None
    in_use: int
    waiting: int


class ConcurrencyService:
    """Sets the limits of tenants and shows all. Jobs that wait for a limit go as soon as a change lets them.

    `limits` must not be cached: they are read after a change.
    """

    def __init__(
        self,
        *,
        tenants: TenantLimitStore,
        store: SlotStore,
        limits: ConcurrencyLimits,
        line: WaitingLine,
        audit: AuditLog,
    ) -> None:
        self._tenants = tenants
        self._store = store
        self._limits = limits
        self._line = line
        self._audit = audit

    def get(self, tenant: str) -> LimitState:
        """Return the limit of a tenant, its own or that of all. Raises UnknownNameError without one."""
        state = self._describe(name_tenant_limit(tenant))
        if state.max_concurrency is None:
            raise UnknownNameError(f"tenant {tenant} has no concurrency limit")
        return state

    def list_waiting(self) -> list[LimitState]:
        """Return the limits that jobs wait for."""
        return [self._describe(name) for name in self._store.list_lines()]

    def list_all(self, model_names: Iterable[str]) -> list[LimitState]:
        """Return the limits of tenants and of these models, and first those that jobs wait for."""
        names = {name_tenant_limit(tenant) for tenant in self._tenants.read()}
        names |= {name_model_limit(model) for model in model_names}
        lines = self._store.list_lines()
        listed = [*lines, *sorted(names - set(lines))][:_MAX_LISTED]
        states = map(self._describe, listed)
        return [state for state in states if state.max_concurrency is not None or state.waiting]

    def list_held(self, limit_name: str, *, count: int) -> list[WaitingJob]:
        """Return the first jobs of the line of a limit."""
        return self._store.list_line(limit_name, count=count)

    def read_own(self) -> TenantLimits:
        """Return the limits that tenants have of their own."""
        return self._tenants.read()

    def put(self, tenant: str, max_concurrency: int) -> LimitState:
        """Set the limit of a tenant."""
        before = self._tenants.read().get(tenant)
        target = f"tenants/{tenant}/concurrency"
        with self._audit.change(AuditAction.PUT_CONCURRENCY, target, tenant=tenant, before=before) as change:
            self._tenants.put(tenant, max_concurrency)
            change.after = max_concurrency
        logger.info("concurrency limit set", for_tenant=tenant, max_concurrency=max_concurrency)
        self._advance([name_tenant_limit(tenant)])
        return self._describe(name_tenant_limit(tenant))

    def delete(self, tenant: str) -> None:
        """Delete the limit of a tenant, so that the default applies. Raises UnknownNameError without one."""
        before = self._tenants.read().get(tenant)
        if before is None:
            raise UnknownNameError(f"tenant {tenant} has no concurrency limit of its own")
        target = f"tenants/{tenant}/concurrency"
        with self._audit.change(AuditAction.DELETE_CONCURRENCY, target, tenant=tenant, before=before):
            self._tenants.remove(tenant)
        logger.info("concurrency limit deleted", for_tenant=tenant)
        self._advance([name_tenant_limit(tenant)])

    def advance_models(self, entry_names: Iterable[str]) -> None:
        """Let jobs go that wait for the limits of model entries which have changed."""
        names = {name_model_limit(name) for name in entry_names}
        try:
            self._advance(sorted(names & set(self._store.list_lines())))
        except ProxyError as error:
            logger.warning("waiting jobs left to the sweep", reason=str(error))

    def _advance(self, limit_names: Iterable[str]) -> None:
        """Let jobs go; if that fails, the next sweep does it."""
        for name in limit_names:
            try:
                self._line.advance(name)
            except ProxyError as error:
                logger.warning("waiting jobs left to the sweep", limit=name, reason=str(error))

    def _describe(self, name: str) -> LimitState:
        return LimitState(
            name,
            self._limits.find_max(name),
            len(self._store.read(name).holders),
            self._store.count_ahead(name, _LAST_POSITION, at_most=_MAX_COUNTED),
        )
