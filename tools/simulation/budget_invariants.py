"""Budgets in a run: no window is ever overspent, and at rest each holds what its jobs cost."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from replicate_proxy.budgets.model import BudgetLimits, BudgetOwner
from replicate_proxy.usage.model import settle_reservation
from tools.simulation.observation import observe_writes, read_items
from tools.simulation.resources import Table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tools.simulation.invariants import Invariants
    from tools.simulation.world import World

# More than any prediction of a run costs: the longest ones run for 50 minutes.
CEILING_MICRO_USD = 6_000_000
BUDGETED_TENANT = "acme"
BUDGETS: Mapping[BudgetOwner, BudgetLimits] = {
    BudgetOwner(BUDGETED_TENANT): BudgetLimits(day_micro_usd=40_000_000, month_micro_usd=1_000_000_000),
    BudgetOwner(BUDGETED_TENANT, "key-1"): BudgetLimits(day_micro_usd=30_000_000),
}
_LIMITS = {"TENANT": 40_000_000, "KEY": 30_000_000}


class BudgetInvariants:
    """Watches the windows of budgets."""

    def __init__(self, world: World, invariants: Invariants) -> None:
        self._world = world
        self._invariants = invariants
        observe_writes(world.aws, self._check_write)
        invariants.at_rest.append(self._check)

    def _check_write(self, table: str, _old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> None:
        if table != Table.USAGE or new is None or "committed" not in new:
            return
        name, committed = new["sk"]["S"], int(new["committed"]["N"])
        scope, start = name.split("#")[0], name.split("#")[-1]
        is_day = start.count("-") == len("--")
        if is_day and committed > _LIMITS[scope]:
            self._invariants.report("a budget is not overspent", f"{name}: {committed}")

    def _check(self) -> None:
        expected: Counter[tuple[str, str]] = Counter()
        for job in self._world.truth.read_jobs():
            for settlement in settle_reservation(job):
                expected[job.tenant, settlement.window] += settlement.spent_micro_usd
        for record in read_items(self._world.aws, Table.USAGE):
            if "committed" not in record:
                continue
            tenant = record["pk"].removeprefix("BUDGET#")
            found = (record["committed"], record.get("spent", 0))
            spent = expected.pop((tenant, record["sk"]), 0)
            if found != (spent, spent):
                detail = f"{tenant} {record['sk']}: {found} is committed and spent, the jobs cost {spent}"
                self._invariants.report("reservations are settled", detail)
        if any(expected.values()):
            self._invariants.report("reservations are settled", f"no window of {dict(expected)}")
