"""Who uses the system in a run: callers, owners of webhook endpoints, operators, and outages."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from tools.simulation.callers import TENANTS, Callers, build_hook_url
from tools.simulation.endpoint_owners import EndpointOwners, build_endpoint_url
from tools.simulation.stack_operators import StackOperators

if TYPE_CHECKING:
    import random

    from tools.simulation.budget_invariants import BudgetInvariants
    from tools.simulation.concurrency_invariants import ConcurrencyInvariants
    from tools.simulation.invariants import Invariants
    from tools.simulation.run import RunSettings
    from tools.simulation.world import World

# Callers who come at the same time where a tenant has a budget.
_BURST = 24
_BURST_AT_ONCE = 12
_REPLICATE_OUTAGES = (("status_503",), ("hang",), ("status_503", "hang", "refused"))


class Workload:
    """Starts the actors of one run: the callers come in the first third of its faults."""

    def __init__(
        self,
        world: World,
        invariants: Invariants,
        settings: RunSettings,
        *,
        budgets: BudgetInvariants | None = None,
        limits: ConcurrencyInvariants | None = None,
    ) -> None:
        self._world = world
        self._settings = settings
        self._invariants = invariants
        self._arrival_seconds = settings.fault_seconds / 3
        self._budgets = budgets
        self._limits = limits
        self.callers = Callers(
            world, invariants, settings, has_budgets=budgets is not None, has_limits=limits is not None
        )

    def start(self, source: random.Random) -> None:
        """Schedule all actors."""
        world, callers = self._world, self.callers
        endpoint_owners = EndpointOwners(world, self._invariants)
        operators = StackOperators(world, arrival_seconds=self._arrival_seconds)
        for tenant in TENANTS:
            world.applications.add_receiver(build_hook_url(tenant), source)
        for number in range(self._settings.jobs):
            world.scheduler.spawn(
                f"caller-{number}", callers.run, delay_seconds=source.uniform(0, self._arrival_seconds)
            )
        owners = [tenant for tenant in TENANTS if source.random() < 0.5]
        for tenant in owners:
            world.applications.add_receiver(build_endpoint_url(tenant), source)
            world.scheduler.spawn(f"owner-{tenant}", partial(endpoint_owners.run, tenant))
        if source.random() < 0.3:
            world.scheduler.spawn("operator", operators.use_breaker)
        is_late = world.features.has_late_redrives
        redrive = operators.redrive_dead_letters_late if is_late else operators.redrive_dead_letters
        world.scheduler.spawn("redriver", redrive)
        if self._budgets is not None:
            set_budgets = operators.change_budgets if world.features.has_changes else operators.set_budgets
            world.scheduler.spawn("budgets", partial(set_budgets, self._budgets))
            for number in range(_BURST):
                delay_seconds = self._arrival_seconds * (1 + number // _BURST_AT_ONCE) / 4
                world.scheduler.spawn(f"burst-{number}", callers.run, delay_seconds=delay_seconds)
        if self._limits is not None:
            operate = operators.change_limit if world.features.has_changes else operators.raise_limit
            world.scheduler.spawn("limits", partial(operate, self._limits))
        if source.random() < 0.3:
            world.scheduler.spawn("outage", self._run_outage)

    def _run_outage(self) -> None:
        """Put one dependency out of order for seconds to hours."""
        source = self._world.scheduler.actor.random
        self._world.scheduler.sleep(source.uniform(0, self._arrival_seconds))
        dependency = source.choice(("replicate", "dynamodb", "sqs", "events", "s3"))
        seconds = source.choice((20.0, 300.0, 1800.0, 4500.0))
        self._world.plan.outages[dependency] = self._world.scheduler.now + seconds
        self._world.plan.replicate_outage_faults = source.choice(_REPLICATE_OUTAGES)
