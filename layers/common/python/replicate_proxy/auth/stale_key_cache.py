"""Keys that were read a short while ago stay usable while the key store cannot be asked."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicate_proxy.errors import RetryableError
from replicate_proxy.observability import Metric, count, logger

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from replicate_proxy.auth.keys import ApiKey
    from replicate_proxy.auth.ports import KeyLookup
    from replicate_proxy.ports import Clock


_CAPACITY = 1000


@dataclass(frozen=True)
class _Seen:
    key: ApiKey
    at: datetime


class StaleKeyCache:
    """A KeyLookup over another. The memory serves outages only: as long as the store answers, it decides.

    Only keys that exist are remembered (those read last), so that invented ids cannot push real ones out.
    """

    def __init__(self, keys: KeyLookup, *, clock: Clock, max_stale: timedelta) -> None:
        self._keys = keys
        self._clock = clock
        self._grace = max_stale
        self._seen: OrderedDict[str, _Seen] = OrderedDict()

    def get(self, key_id: str) -> ApiKey | None:
        try:
            key = self._keys.get(key_id)
        except RetryableError:
            remembered = self._remembered(key_id)
            if remembered is None:
                raise
            return remembered
        self._remember(key_id, key)
        return key

    def record_use(self, key_id: str, now: datetime) -> None:
        self._keys.record_use(key_id, now)

    def _remember(self, key_id: str, key: ApiKey | None) -> None:
        self._seen.pop(key_id, None)
        if key is None:
            return
        self._seen[key_id] = _Seen(key, self._clock.now())
        if len(self._seen) > _CAPACITY:
            self._seen.popitem(last=False)

    def _remembered(self, key_id: str) -> ApiKey | None:
        seen = self._seen.get(key_id)
        if seen is None or self._clock.now() - seen.at > self._grace:
            return None
        logger.warning("key store unreachable, using a remembered key", key_id=key_id)
        count(Metric.AUTH_FROM_STALE_CACHE)
        return seen.key
