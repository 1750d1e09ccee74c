"""Whether the audit trail has every change of a key, once, and a chain without a break."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from replicate_proxy.audit.log import StoredAuditLog
from replicate_proxy.audit.model import AuditedChange
from replicate_proxy.audit.trail import AuditTrail
from replicate_proxy.aws.audit_store import DynamoAuditStore
from tools.simulation.observation import observe_writes, read_items
from tools.simulation.resources import Table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from replicate_proxy.audit.model import AuditAction
    from tools.simulation.aws import InMemoryAws
    from tools.simulation.invariants import Invariants, Item
    from tools.simulation.world import World

# Longer than the time after which an intent counts as abandoned.
_REST_SECONDS = 300.0
_MAX_ROUNDS = 20


class NoAuditLog:
    """An AuditLog that records nothing, for runs and tests of what else a service does."""

    @contextmanager
    def change(
        self,
        action: AuditAction,
        target: str,
        *,
        tenant: str | None = None,
        parameters: Any = None,
        before: Any = None,
    ) -> Iterator[AuditedChange]:
        del action, tenant, parameters
        yield AuditedChange(target, before)


def list_recorded(aws: InMemoryAws, *actions: AuditAction) -> set[str]:
    """Return the targets of these actions that the trail has."""
    return {
        record["target"]
        for record in read_items(aws, Table.AUDIT)
        if record["pk"] == "CHAIN" and record["action"] in actions
    }


class AuditInvariants:
    """Lets the operators of a world record their changes, and watches the records."""

    def __init__(self, world: World, invariants: Invariants) -> None:
        self._world = world
        self._invariants = invariants
        self._store = DynamoAuditStore(world.aws.client("dynamodb"), Table.AUDIT)
        self._log = StoredAuditLog(
            self._store,
            find_key_name=lambda _: "",
            clock=world.components.clock,
            sleep=world.scheduler.sleep,
        )
        self._begun: set[str] = set()
        world.components.audit = self._log
        observe_writes(world.aws, self._check_write)
        invariants.at_rest.append(self._check)

    def start(self) -> None:
        """Schedule what the next change of an operator would do, once faults have ended."""
        delay = self._world.plan.quiet_from + _REST_SECONDS - self._world.scheduler.now
        self._world.scheduler.spawn("auditor", self._close_abandoned, delay_seconds=delay)

    def _close_abandoned(self) -> None:
        for _ in range(_MAX_ROUNDS):
            if not any(record["pk"] == "PENDING" for record in read_items(self._world.aws, Table.AUDIT)):
                return
            self._world.call_function("admin", self._log.close_abandoned)
            self._world.scheduler.sleep(_REST_SECONDS)

    def _check_write(self, table: str, old: Item | None, new: Item | None) -> None:
        if table == Table.AUDIT:
            self._check_audit_write(old, new)
        elif table == Table.ACCESS and new is not None and new["sk"]["S"].startswith("KEY#"):
            unchanged = {"last_used_at", "revision", "write_id"}
            if old is None or any(old.get(name) != new.get(name) for name in new.keys() - unchanged):
                self._check_is_recorded(f"keys/{new['sk']['S'].removeprefix('KEY#')}")

    def _check_audit_write(self, old: Item | None, new: Item | None) -> None:
        item = new or old or {}
        kind = item["pk"]["S"]
        if kind == "PENDING" and new is not None:
            self._begun.add(json.loads(new["intent"]["S"])["id"])
        if kind == "CHAIN" and old is not None:
            self._invariants.report("audit records stay as they are", item["sk"]["S"])

    def _check_is_recorded(self, target: str) -> None:
        """Report a change of a key without an intent or record. A write can take effect after its record."""
        for record in read_items(self._world.aws, Table.AUDIT):
            named = json.loads(record["intent"]) if "intent" in record else record
            if named.get("target") == target:
                return
        self._invariants.report("every change is recorded", target)

    def _check(self) -> None:
        records = [record for record in read_items(self._world.aws, Table.AUDIT) if record["pk"] == "CHAIN"]
        ids = [record["id"] for record in records]
        if sorted(ids) != sorted(self._begun):
            detail = f"{len(self._begun)} changes were begun, {len(set(ids))} have {len(ids)} records"
            self._invariants.report("every change has one record", detail)
        verification = AuditTrail(self._store, lambda: None).verify()
        if not verification.is_valid:
            self._invariants.report(
                "the audit chain is whole", f"{verification.sequence} {verification.error}"
            )
