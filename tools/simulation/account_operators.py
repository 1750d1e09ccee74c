"""The operators who give tenants an account of their own at Replicate, change it, or remove it."""

from __future__ import annotations

import random
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from replicate_proxy.errors import ApiError, ProxyError
from tools.simulation.accounts import ACCOUNT_LETTERS, build_token
from tools.simulation.functions.operators import build_accounts
from tools.simulation.scheduler import ProcessEndedError

if TYPE_CHECKING:
    from replicate_proxy.operations.accounts import AccountService
    from tools.simulation.world import World

_MOVES = 4
_MAINTENANCE_TIME = timedelta(seconds=20)


class AccountOperators:
    """Give some of the tenants an account of their own, and change or remove it while jobs run.

    Random numbers are their own, so that runs without own accounts stay as they are.
    """

    def __init__(self, world: World, *, share: float, seconds: float) -> None:
        self._world = world
        self._share = share
        self._seconds = seconds

    def start(self, tenants: tuple[str, ...]) -> None:
        if self._share == 0:
            return
        source = random.Random(f"{self._world.scheduler.seed}/accounts")
        for tenant in tenants:
            if source.random() < self._share:
                moves = [(source.choice(ACCOUNT_LETTERS), source.uniform(0, self._seconds))]
                moves += [
                    (source.choice((*ACCOUNT_LETTERS, "")), source.uniform(0, self._seconds))
                    for _ in range(_MOVES)
                ]
                self._world.scheduler.spawn(f"accounts-{tenant}", partial(self._run, tenant, moves))

    def _run(self, tenant: str, moves: list[tuple[str, float]]) -> None:
        service = build_accounts(self._world.components)
        elapsed = 0.0
        for letter, at in sorted(moves, key=lambda move: move[1]):
            self._world.scheduler.sleep(at - elapsed)
            elapsed = at
            change = (
                partial(service.put, tenant, build_token(tenant, letter))
                if letter
                else partial(service.delete, tenant)
            )
            for function in (change, partial(self._maintain, service)):
                try:
                    self._world.call_function("accounts", function)
                except (ProxyError, ApiError, ProcessEndedError):
                    continue

    def _maintain(self, service: AccountService) -> None:
        service.maintain(self._world.clock.now() + _MAINTENANCE_TIME)
