"""A cache of API keys that is used only while the key store cannot be reached."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from replicate_proxy.auth.errors import StaleKeyError
from replicate_proxy.errors import RetryableError
from replicate_proxy.observability import Metric, count, logger

if TYPE_CHECKING:
    from datetime import datetime

    from replicate_proxy.auth.keys import ApiKey
    from replicate_proxy.auth.ports import KeyLookup
    from replicate_proxy.ports import Clock


MAX_STALE_AGE = timedelta(minutes=5)
_MAX_CACHED_KEYS = 1000


@dataclass(frozen=True)
class _CachedKey:
    key: ApiKey
    read_at: datetime


class StaleKeyCache:
    """A KeyLookup that has copies of the keys read at most `max_stale` ago when the store behind it fails.

    Only existing keys are cached, so that requests with invented IDs cannot displace them.
    """

    def __init__(self, keys: KeyLookup, *, clock: Clock, max_stale: timedelta) -> None:
        self._keys = keys
        self._clock = clock
        self._max_stale = max_stale
        self._cache: OrderedDict[str, _CachedKey] = OrderedDict()

    def get(self, key_id: str) -> ApiKey | None:
        """Return the key. If the store fails, raise StaleKeyError with a recent copy, or RetryableError."""
        try:
            key = self._keys.get(key_id)
        except RetryableError as error:
            cached_key = self._find_cached(key_id)
            if cached_key is None:
                raise
            raise StaleKeyError(cached_key) from error
        self._update_cache(key_id, key)
        return key

    def record_use(self, key_id: str, now: datetime) -> None:
        self._keys.record_use(key_id, now)

    def _update_cache(self, key_id: str, key: ApiKey | None) -> None:
        self._cache.pop(key_id, None)
        if key is None:
            return
        self._cache[key_id] = _CachedKey(key, self._clock.now())
        if len(self._cache) > _MAX_CACHED_KEYS:
            self._cache.popitem(last=False)

    def _find_cached(self, key_id: str) -> ApiKey | None:
        cached = self._cache.get(key_id)
        if cached is None or self._clock.now() - cached.read_at > self._max_stale:
            return None
        logger.warning("key store unavailable, using cached key", key_id=key_id)
        count(Metric.AUTH_FROM_STALE_CACHE)
        return cached.key
