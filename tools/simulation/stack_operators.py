"""The operators of the stack."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING

from replicate_proxy.budgets.model import BudgetLimits
from replicate_proxy.errors import ProxyError, UnknownNameError
from replicate_proxy.operations.ports import Stage
from tools.simulation.budget_invariants import BUDGETS, OTHER_DAY_LIMITS
from tools.simulation.concurrency_invariants import (
    FIRST_TENANT_LIMIT,
    LIMITED_TENANT,
    OTHER_TENANT_LIMITS,
    RAISED_TENANT_LIMIT,
)
from tools.simulation.functions.concurrency import build_concurrency_service
from tools.simulation.functions.operators import build_budget_service
from tools.simulation.functions.replicate_access import build_breaker
from tools.simulation.resources import STACK, Queue
from tools.simulation.scheduler import ProcessEndedError

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from tools.simulation.budget_invariants import BudgetInvariants
    from tools.simulation.concurrency_invariants import ConcurrencyInvariants
    from tools.simulation.world import World

_STAGE = Stage("api", "prod")
_MIN_SECONDS_BETWEEN = 150.0
# Every job has ended by the first one, without its dead letters.
_LATE_REDRIVES_SECONDS = (3 * 3600.0 + 600.0, 30 * 3600.0)


class StackOperators:
    """Set budgets and limits, use the circuit breaker, and redrive dead letters."""

    def __init__(self, world: World, *, arrival_seconds: float) -> None:
        self._world = world
        self._arrival_seconds = arrival_seconds

    def set_budgets(self, budgets: BudgetInvariants) -> None:
        """Set the budgets. Until then there are none."""
        put = self._world.components.budgets.put_limits
        for owner, limits in BUDGETS.items():
            budgets.expect(owner, limits.day_micro_usd)
            self._ask(partial(put, owner, limits))
            budgets.confirm(owner)

    def change_budgets(self, budgets: BudgetInvariants) -> None:
        """Set, lower, raise and delete the budgets while jobs run."""
        service = build_budget_service(self._world.components)
        end = self._world.scheduler.now + 2 * self._arrival_seconds
        while self._world.scheduler.now < end:
            owner = self._random.choice(tuple(BUDGETS))
            number = self._random.choice(OTHER_DAY_LIMITS)
            change = partial(service.delete, owner, _STAGE)
            if number is not None:
                change = partial(service.put, owner, BudgetLimits(day_micro_usd=number), _STAGE)
            budgets.expect(owner, number)
            self._ask(change)
            budgets.confirm(owner)
            self._sleep_between_changes()

    def raise_limit(self, limits: ConcurrencyInvariants) -> None:
        """Set a limit for a tenant, and raise it while jobs wait for it."""
        for number in (FIRST_TENANT_LIMIT, RAISED_TENANT_LIMIT):
            limits.expect_tenant_limit(number)
            self._ask(partial(self._world.components.tenant_limits.put, LIMITED_TENANT, number))
            limits.confirm_tenant_limit()
            self._world.scheduler.sleep(self._arrival_seconds)

    def change_limit(self, limits: ConcurrencyInvariants) -> None:
        """Set, lower, raise and delete the limit of a tenant while jobs run and wait for it."""
        end = self._world.scheduler.now + 2 * self._arrival_seconds
        while self._world.scheduler.now < end:
            number = self._random.choice(OTHER_TENANT_LIMITS)
            service = build_concurrency_service(self._world.components)
            change: Callable[[], object] = partial(service.delete, LIMITED_TENANT)
            if number is not None:
                change = partial(service.put, LIMITED_TENANT, number)
            limits.expect_tenant_limit(number)
            self._ask(change)
            limits.confirm_tenant_limit()
            self._sleep_between_changes()

    def _ask(self, change: Callable[[], object]) -> None:
        """Repeat the change until it is confirmed, or is about what does not exist: a limit, or a key."""
        while True:
            try:
                self._world.call_admin(change)
            except UnknownNameError:
                return
            except (ProxyError, ProcessEndedError):
                self._world.scheduler.sleep(1.0)
            else:
                return

    def _sleep_between_changes(self) -> None:
        """Wait for longer than a change whose response was lost may take."""
        self._world.scheduler.sleep(_MIN_SECONDS_BETWEEN + self._random.expovariate(1 / _MIN_SECONDS_BETWEEN))

    def use_breaker(self) -> None:
        breaker = build_breaker(self._world.components)
        for _ in range(self._random.randint(1, 3)):
            self._world.scheduler.sleep(self._random.expovariate(1 / 400))
            action = self._random.choice((breaker.trip, breaker.reset))
            try:
                self._world.call_function("admin", action)
            except (ProxyError, ProcessEndedError):
                continue

    def redrive_dead_letters(self) -> None:
        """Redrive the dead letters now and then, and once more when faults have stopped."""
        world = self._world
        while world.scheduler.now < world.plan.quiet_from:
            world.scheduler.sleep(900)
            self._redrive()
        world.scheduler.sleep(1900)
        self._redrive()

    def redrive_dead_letters_late(self) -> None:
        """Leave the dead letters until all jobs have ended, and redrive them then and a day later."""
        world = self._world
        times = [world.plan.quiet_from + seconds for seconds in _LATE_REDRIVES_SECONDS]
        world.work_left.append(lambda: world.scheduler.now <= times[-1])
        for time in times:
            world.scheduler.sleep(time - world.scheduler.now)
            self._redrive()

    def _redrive(self) -> None:
        """Redrive every dead letter. One whose redrive fails is invisible for a while, so this ends."""
        queues = self._world.queues
        for queue in Queue:
            while messages := queues.receive(f"{queue}-dead-letters", 10, attributes=["MessageGroupId"]):
                for message in messages:
                    queues.send(queue, message["Body"], group=message["Attributes"].get("MessageGroupId"))
                    queues.delete(f"{queue}-dead-letters", message["ReceiptHandle"])
        self._world.event_sources.poll_soon()
        stream_queue = f"{STACK}-notify-stream-dead-letters"
        while messages := queues.receive(stream_queue, 10):
            for message in messages:
                try:
                    self._world.call_function(
                        "replay",
                        partial(self._world.event_sources.replay_stream_batch, json.loads(message["Body"])),
                    )
                except (ProxyError, ProcessEndedError):
                    continue
                queues.delete(stream_queue, message["ReceiptHandle"])

    @property
    def _random(self) -> random.Random:
        actor = self._world.scheduler.actor
        return actor.random
