"""Broken variants of the authorizer and its caches."""

from __future__ import annotations

from typing import Any

from replicate_proxy.auth.authorizer import Authorizer
from replicate_proxy.auth.errors import StaleKeyError
from replicate_proxy.auth.stale_key_cache import StaleKeyCache
from replicate_proxy.aws.api_gateway import ApiGateway
from tools.simulation.decisions import Rates
from tools.simulation.faults import FaultMix
from tools.simulation.mutants.mutant import Mutant
from tools.simulation.run import RunSettings

# The keys are what matters; more requests collide more often.
_KEYS = RunSettings(jobs=3, key_requests=20)
_UNREADABLE = FaultMix(aws_reads=Rates(rejected=0.3))


def _trust_the_copy(self: Any, key_id: str) -> Any:
    try:
        return self._keys.get(key_id), None
    except StaleKeyError as error:
        return error.key, None


def _read_once(self: Any, key_id: str) -> Any:
    if key_id not in self._cache:
        self._update_cache(key_id, self._keys.get(key_id))
    return self._cache[key_id].key


AUTHORIZATION_MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "a revocation does not flush the cache of decisions",
        "revoked is revoked",
        ((ApiGateway, "flush_authorizer_cache", lambda _self, _stage: True),),
        settings=_KEYS,
    ),
    Mutant(
        "the copy of a key rejects secrets that are newer",
        "a secret keeps its grace",
        ((Authorizer, "_find_key", _trust_the_copy),),
        mix=_UNREADABLE,
        settings=_KEYS,
    ),
    Mutant(
        "a key that was read is not read again",
        "a restriction of a key takes effect",
        ((StaleKeyCache, "get", _read_once),),
        # Other checks notice it as well.
        settings=RunSettings(
            jobs=3, key_requests=20, ignored=frozenset({"a secret keeps its grace", "revoked is revoked"})
        ),
    ),
)
