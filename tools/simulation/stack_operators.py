"""The operators of the stack."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING

from replicate_proxy.errors import ProxyError
from tools.simulation.budget_invariants import BUDGETS
from tools.simulation.concurrency_invariants import FIRST_TENANT_LIMIT, LIMITED_TENANT, RAISED_TENANT_LIMIT
from tools.simulation.functions.replicate_access import build_breaker
from tools.simulation.resources import STACK, Queue
from tools.simulation.scheduler import ProcessEndedError

if TYPE_CHECKING:
    import random

    from tools.simulation.concurrency_invariants import ConcurrencyInvariants
    from tools.simulation.world import World


class StackOperators:
    """Set budgets and limits, use the circuit breaker, and redrive dead letters."""

    def __init__(self, world: World, *, arrival_seconds: float) -> None:
        self._world = world
        self._arrival_seconds = arrival_seconds

    def set_budgets(self) -> None:
        """Set the budgets. Until then there are none."""
        for owner, limits in BUDGETS.items():
            while True:
                try:
                    self._world.call_function(
                        "admin", partial(self._world.components.budgets.put_limits, owner, limits)
                    )
                except (ProxyError, ProcessEndedError):
                    self._world.scheduler.sleep(1.0)
                    continue
                break

    def raise_limit(self, limits: ConcurrencyInvariants) -> None:
        """Set a limit for a tenant, and raise it while jobs wait for it."""
        for number in (FIRST_TENANT_LIMIT, RAISED_TENANT_LIMIT):
            limits.expect_tenant_limit(number)
            while True:
                put = partial(self._world.components.tenant_limits.put, LIMITED_TENANT, number)
                try:
                    self._world.call_function("admin", put)
                except (ProxyError, ProcessEndedError):
                    self._world.scheduler.sleep(1.0)
                    continue
                break
            limits.confirm_tenant_limit()
            self._world.scheduler.sleep(self._arrival_seconds)

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
