"""Accounts at the simulated Replicate, and the operators who give tenants one of their own, or remove it."""

from __future__ import annotations

import base64
import random
from functools import partial
from typing import TYPE_CHECKING

from replicate_proxy.errors import ApiError, ProxyError
from tools.simulation.scheduler import ProcessEndedError

if TYPE_CHECKING:
    from tools.simulation.world import World

SHARED_TOKEN = "r8_simulated"  # noqa: S105 - the simulation's own
SHARED_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - the example of the specification
SHARED_NAME = "deployment"
_MOVES = 4
_LETTERS = "ab"


def build_token(tenant: str, letter: str) -> str:
    """Return the token of one of the accounts that a tenant has at Replicate."""
    return f"r8_{tenant}-{letter}_simulated"


def find_account_name(authorization: str) -> str | None:
    """Return the account that a request is made with, None if its token is not known."""
    token = authorization.removeprefix("Bearer ")
    if token == SHARED_TOKEN:
        return SHARED_NAME
    name = token.removeprefix("r8_").removesuffix("_simulated")
    return name if token == f"r8_{name}_simulated" and name[-2:] in {f"-{x}" for x in _LETTERS} else None


def get_webhook_secret(account: str) -> str:
    """Return the secret with which Replicate signs the webhooks of an account."""
    if account == SHARED_NAME:
        return SHARED_SECRET
    return "whsec_" + base64.b64encode(account.ljust(32, ".").encode()).decode()


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
                moves = [(source.choice(_LETTERS), source.uniform(0, self._seconds))]
                moves += [
                    (source.choice((*_LETTERS, "")), source.uniform(0, self._seconds)) for _ in range(_MOVES)
                ]
                self._world.scheduler.spawn(f"accounts-{tenant}", partial(self._run, tenant, moves))

    def _run(self, tenant: str, moves: list[tuple[str, float]]) -> None:
        service = self._world.composition.build_accounts()
        elapsed = 0.0
        for letter, at in sorted(moves, key=lambda move: move[1]):
            self._world.scheduler.sleep(at - elapsed)
            elapsed = at
            change = (
                partial(service.put, tenant, build_token(tenant, letter))
                if letter
                else partial(service.delete, tenant)
            )
            for function in (change, service.maintain):
                try:
                    self._world.call_function("accounts", function)
                except (ProxyError, ApiError, ProcessEndedError):
                    continue
