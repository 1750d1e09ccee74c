"""Operators and holders of API keys: keys are changed, rotated and revoked while their holders use them.

Each operator changes attributes of its own, so that whatever else changes is a lost update. Operators repeat
a request whose response they did not get, as a person or a deployment tool does.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from replicate_proxy.api.admin.bodies import CreateKeyBody, UpdateKeyBody
from replicate_proxy.errors import ProxyError
from replicate_proxy.operations.ports import Stage
from tools.simulation.functions.operators import build_keys
from tools.simulation.gateway_authorizer import GatewayAuthorizer
from tools.simulation.scheduler import ProcessEndedError

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from replicate_proxy.auth.keys import ApiKeySecret
    from replicate_proxy.operations.keys import KeyService
    from tools.simulation.key_invariants import KeyInvariants
    from tools.simulation.world import World

_STAGE = Stage("api", "prod")
_MAX_ATTEMPTS = 3
_HOLDERS = ("key-holder", "key-holder-2", "key-holder-3")
_OVERLAPS_SECONDS = (0, 60, 3600, 86400)


@dataclass(slots=True)
class _Holding:
    """A key, the secrets that were given to its holders, newest last, and where they use it."""

    key_id: str
    secrets: list[str] = field(default_factory=list)
    addresses: list[str] = field(default_factory=lambda: ["10.0.0.1"])


class KeyOperators:
    """The actors around the keys of one world: `requests` of each operator within `seconds`."""

    def __init__(self, world: World, invariants: KeyInvariants, *, requests: int, seconds: float) -> None:
        self._world = world
        self._invariants = invariants
        self._requests = requests
        self._seconds = seconds
        self._gateway = GatewayAuthorizer(world)

    def start(self) -> None:
        """Schedule everybody."""
        self._world.scheduler.spawn("key-creator", self._run_creator)

    def _run_creator(self) -> None:
        """Create a key, and let operators and its holders loose on it."""
        body = CreateKeyBody(tenant="acme")
        created = self._ask(lambda: self._keys.create(body, _STAGE))
        if created is None:
            return
        key, secret = created
        holding = _Holding(key.id, [str(secret)])
        self._invariants.issue(key.id, str(secret), since=self._now)
        for name, act in (
            ("key-namer", self._rename),
            ("key-guard", self._restrict),
            ("key-rotator", self._rotate),
            ("key-rotator-2", self._rotate),
        ):
            self._world.scheduler.spawn(name, partial(self._run_operator, holding, act))
        for name in _HOLDERS:
            self._world.scheduler.spawn(name, partial(self._run_holder, holding))
        self._world.scheduler.spawn(
            "key-revoker", partial(self._revoke, holding), delay_seconds=self._seconds * 1.5
        )

    def _run_operator(self, holding: _Holding, act: Callable[[_Holding], None]) -> None:
        for _ in range(self._requests):
            # In bursts: changes collide only if they are made at the same time.
            self._sleep_until_next_burst()
            act(holding)

    def _sleep_until_next_burst(self) -> None:
        interval = self._seconds / (self._requests + 1)
        now = self._now
        self._world.scheduler.sleep(interval - now % interval + self._random.expovariate(20))

    def _rename(self, holding: _Holding) -> None:
        body = UpdateKeyBody(name=f"name {self._random.randrange(1000)}")
        self._ask(lambda: self._keys.update(holding.key_id, body, _STAGE))

    def _restrict(self, holding: _Holding) -> None:
        number = self._random.randrange(256)
        body = UpdateKeyBody.model_validate({"allowed_ips": [f"10.0.{number}.0/24"]})
        holding.addresses.append(f"10.0.{number}.1")
        self._invariants.start_restriction(holding.key_id, body.allowed_ips or [])
        if self._ask(lambda: self._keys.update(holding.key_id, body, _STAGE)) is not None:
            self._invariants.finish_restriction(holding.key_id)

    def _rotate(self, holding: _Holding) -> None:
        overlap_seconds = self._random.choice(_OVERLAPS_SECONDS)

        def rotate() -> ApiKeySecret:
            rotation = self._invariants.start_rotation(holding.key_id, overlap_seconds)
            secret: ApiKeySecret | None = None
            try:
                secret = self._world.call_admin(
                    lambda: self._keys.rotate(holding.key_id, timedelta(seconds=overlap_seconds), _STAGE)
                )[1]
            finally:
                self._invariants.finish_rotation(
                    holding.key_id, rotation, None if secret is None else str(secret)
                )
            return secret

        secret = self._repeat(rotate)
        if secret is not None:
            holding.secrets.append(str(secret))

    def _revoke(self, holding: _Holding) -> None:
        self._invariants.start_revocation(holding.key_id)
        revoked = self._ask(lambda: self._keys.revoke(holding.key_id, _STAGE))
        if revoked is not None:
            self._invariants.finish_revocation(holding.key_id, effective_at=revoked[1].timestamp())

    def _run_holder(self, holding: _Holding) -> None:
        """Use one of the secrets that the holder knows, most often the newest, from one of two addresses."""
        end = self._now + self._seconds * 2
        while self._now < end:
            self._world.scheduler.sleep(self._random.expovariate(1 / 20))
            secrets = holding.secrets
            text = secrets[-1] if self._random.random() < 0.5 else self._random.choice(secrets)
            self._use(holding.key_id, text, self._random.choice(holding.addresses[-2:]))

    def _use(self, key_id: str, text: str, address: str) -> None:
        try:
            decision = self._gateway.authorize(text, address)
        except (ProxyError, ProcessEndedError):
            return
        self._invariants.check_use(key_id, text, address, decision)

    def _ask[T](self, function: Callable[[], T]) -> T | None:
        return self._repeat(partial(self._world.call_admin, function))

    def _repeat[T](self, function: Callable[[], T]) -> T | None:
        for attempt in range(_MAX_ATTEMPTS):
            try:
                return function()
            except (ProxyError, ProcessEndedError):
                self._world.scheduler.sleep(1.0 + attempt)
        return None

    @property
    def _keys(self) -> KeyService:
        return build_keys(self._world.components)

    @property
    def _now(self) -> float:
        return self._world.scheduler.now

    @property
    def _random(self) -> random.Random:
        return self._world.scheduler.actor.random
