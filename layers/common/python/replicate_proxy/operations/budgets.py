"""Administration of budgets."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from replicate_proxy.audit.model import AuditAction
from replicate_proxy.budgets.model import BudgetOwner
from replicate_proxy.errors import UnknownNameError
from replicate_proxy.observability import logger

if TYPE_CHECKING:
    from replicate_proxy.audit.log import AuditLog
    from replicate_proxy.budgets.model import BudgetLimits, BudgetState
    from replicate_proxy.budgets.ports import BudgetStore
    from replicate_proxy.operations.keys import KeyService
    from replicate_proxy.operations.ports import Stage
    from replicate_proxy.ports import Clock


class BudgetService:
    """Sets budgets of tenants and keys.

    Each key knows whether it or its tenant has a budget (`ApiKey.has_budget`), so that requests of others do
    without any read. The limits are written before the keys are marked: a key that is created meanwhile reads
    the limits after it is stored, and so one of both marks it.
    """

    def __init__(self, *, store: BudgetStore, keys: KeyService, clock: Clock, audit: AuditLog) -> None:
        self._audit = audit
        self._store = store
        self._keys = keys
        self._clock = clock

    def get(self, owner: BudgetOwner) -> tuple[BudgetLimits, list[BudgetState]]:
        """Return the limits and the present windows. Raises UnknownNameError without a budget."""
        limits = self._store.get_limits(owner)
        if limits is None:
            raise UnknownNameError(f"{owner.name} has no budget")
        return limits, self.list_states(owner)

    def list_states(self, owner: BudgetOwner) -> list[BudgetState]:
        """Return the present windows, none without a budget."""
        return self._store.list_states([owner], self._clock.now())

    def put(self, owner: BudgetOwner, limits: BudgetLimits, stage: Stage) -> None:
        """Set the limits. What was spent and reserved before in the same window counts."""
        stored = self._store.get_limits(owner)
        with self._audit.change(
            AuditAction.PUT_BUDGET,
            _get_target(owner),
            tenant=owner.tenant,
            before=asdict(stored) if stored else None,
        ) as change:
            self._store.put_limits(owner, limits)
            self._mark_keys(owner, stage)
            change.after = asdict(limits)
        logger.info("budget set", for_tenant=owner.tenant, for_key_id=owner.key_id)

    def delete(self, owner: BudgetOwner, stage: Stage) -> None:
        """Delete the limits. Raises UnknownNameError without a budget."""
        stored = self._store.get_limits(owner)
        if stored is None:
            raise UnknownNameError(f"{owner.name} has no budget")
        with self._audit.change(
            AuditAction.DELETE_BUDGET, _get_target(owner), tenant=owner.tenant, before=asdict(stored)
        ):
            self._store.delete_limits(owner)
            self._mark_keys(owner, stage)
        logger.info("budget deleted", for_tenant=owner.tenant, for_key_id=owner.key_id)

    def find_owner_of_key(self, key_id: str) -> BudgetOwner:
        """Return the owner of a key's budget. Raises UnknownNameError for an unknown key."""
        return BudgetOwner(self._keys.get(key_id).tenant, key_id)

    def _mark_keys(self, owner: BudgetOwner, stage: Stage) -> None:
        if owner.key_id is not None:
            key_ids = [owner.key_id]
        else:
            key_ids = [key.id for key in self._keys.list(tenant=owner.tenant) if key.revoked_at is None]
        self._keys.mark_budgets(key_ids, stage)


def _get_target(owner: BudgetOwner) -> str:
    return f"tenants/{owner.tenant}/budget" if owner.key_id is None else f"keys/{owner.key_id}/budget"
