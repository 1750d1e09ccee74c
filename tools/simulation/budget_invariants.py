"""Budgets in a run: no window is ever overspent, and at rest each holds what its jobs cost."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any

from replicate_proxy.budgets.model import BudgetLimits, BudgetOwner
from replicate_proxy.clock import parse_timestamp
from replicate_proxy.usage.model import settle_reservation
from tools.simulation.limit_history import LimitHistory
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
# What operators set in place of these: some are less than what is reserved by then.
OTHER_DAY_LIMITS = (6_000_000, 12_000_000, 60_000_000, None)
# A request that has read the limits before, and one that takes effect late.
_SETTLED_SECONDS = 120.0


class BudgetInvariants:
    """Watches the windows of budgets. The operator tells it the limits of a day."""

    def __init__(self, world: World, invariants: Invariants) -> None:
        self._world = world
        self._invariants = invariants
        self._limits = {owner: LimitHistory(world.scheduler, _SETTLED_SECONDS) for owner in BUDGETS}
        self._asked_at = 0.0
        observe_writes(world.aws, self._check_write)
        invariants.at_rest.append(self._check)

    def expect(self, owner: BudgetOwner, day_micro_usd: int | None) -> None:
        """Learn the limit that is about to be set."""
        self._limits[owner].expect(day_micro_usd)
        self._asked_at = self._world.scheduler.now

    def confirm(self, owner: BudgetOwner) -> None:
        """Learn that the limit is set."""
        self._limits[owner].confirm()
        if self._limits[owner].current < math.inf and owner.key_id is None:
            self._check_keys(owner.tenant)

    def _check_keys(self, tenant: str) -> None:
        """The keys that there were before know that they have a budget: the others are not asked about it."""
        for record in read_items(self._world.aws, Table.ACCESS):
            if not record["sk"].startswith("KEY#") or record["tenant"] != tenant or "revoked_at" in record:
                continue
            created_at = parse_timestamp(record["created_at"]).timestamp()
            if created_at < self._asked_at - _SETTLED_SECONDS and not record.get("has_budget"):
                self._invariants.report("a key knows its budget", record["sk"])

    def _check_write(self, table: str, old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> None:
        """What is added to a window fits into its limit, which may have been lowered below what is in it."""
        if table != Table.USAGE or new is None or "committed" not in new:
            return
        name, committed = new["sk"]["S"], int(new["committed"]["N"])
        is_more = committed > int((old or {}).get("committed", {"N": 0})["N"])
        _, *key_ids, start = name.split("#")
        is_day = start.count("-") == len("--")
        owner = BudgetOwner(new["pk"]["S"].removeprefix("BUDGET#"), *key_ids)
        if is_day and is_more and committed > self._limits[owner].find_greatest():
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
