"""API Gateway's side of the authorizer: it calls the function, and caches what that has decided.

Facts are those of the API Gateway developer guide, "Use API Gateway Lambda authorizers": a policy is cached
by the values that identify the caller, whether it allows or denies; an error, as a 401 is, is not cached.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING

from replicate_proxy.auth.errors import DeniedError, UnauthenticatedError
from tools.simulation.functions.authorize import AUTHORIZER_CACHE_SECONDS, build_authorizer
from tools.simulation.lambda_service import EnvironmentPool
from tools.simulation.scheduler import ProcessEndedError

if TYPE_CHECKING:
    from replicate_proxy.auth.authorizer import Authorizer
    from tools.simulation.world import World


class Verdict(Enum):
    """What a caller gets."""

    ACCEPTED = "accepted"
    DENIED = "denied"
    UNAUTHENTICATED = "unauthenticated"


@dataclass(frozen=True, slots=True)
class Decision:
    """A verdict of the function, and when it was made. `is_stale`: the stored key could not be read."""

    verdict: Verdict
    started_at: float
    ended_at: float
    is_stale: bool


class GatewayAuthorizer:
    """Authorizes the callers of one world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._pool = EnvironmentPool(
            partial(build_authorizer, world.components), reuses=world.plan.reuses_environments
        )
        self._cache: dict[tuple[str, str], Decision] = {}
        world.aws.api_gateway.on_flush = self._cache.clear

    def authorize(self, secret: str, address: str) -> Decision:
        """Return what is decided about a caller. Raises ProxyError or ProcessEndedError if nothing is."""
        cached = self._cache.get((secret, address))
        if cached is not None and self._world.scheduler.now < cached.ended_at + AUTHORIZER_CACHE_SECONDS:
            return cached
        decision = self._invoke(secret, address)
        if decision.verdict is not Verdict.UNAUTHENTICATED:
            self._cache[secret, address] = decision
        return decision

    def _invoke(self, secret: str, address: str) -> Decision:
        authorizer: Authorizer = self._pool.take()
        is_crashed = False
        try:
            return self._world.call_function("authorize", partial(self._decide, authorizer, secret, address))
        except ProcessEndedError:
            is_crashed = True
            raise
        finally:
            self._pool.give_back(authorizer, is_crashed=is_crashed)

    def _decide(self, authorizer: Authorizer, secret: str, address: str) -> Decision:
        started_at = self._world.scheduler.now
        try:
            authorizer.authorize(f"Bearer {secret}", address)
            verdict = Verdict.ACCEPTED
        except DeniedError:
            verdict = Verdict.DENIED
        except UnauthenticatedError:
            verdict = Verdict.UNAUTHENTICATED
        failed_calls = self._world.scheduler.actor.process.failed_calls
        is_stale = any(not call.is_write for call in failed_calls)
        return Decision(verdict, started_at, self._world.scheduler.now, is_stale)
