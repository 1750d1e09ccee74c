"""A bounded cache of replies in the memory of one function. Pure."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from replicate_proxy.replicate_api.reply import Reply

__all__ = ["CachedReply", "ReplyCache"]


@dataclass(frozen=True, slots=True)
class CachedReply:
    """`fresh_for` is in seconds, and negative once the reply is out of date."""

    reply: Reply
    fresh_for: float


class ReplyCache:
    """Holds `max_bytes` of bodies at most; those not asked for longest go first.

    Out-of-date replies stay until then: one is better than none while Replicate cannot be reached.
    """

    def __init__(self, max_bytes: int, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._max_bytes = max_bytes
        self._monotonic = monotonic
        self._entries: OrderedDict[Hashable, tuple[Reply, float]] = OrderedDict()
        self._bytes = 0

    def get(self, key: Hashable) -> CachedReply | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        self._entries.move_to_end(key)
        reply, fresh_until = entry
        return CachedReply(reply, fresh_until - self._monotonic())

    def put(self, key: Hashable, reply: Reply, seconds: float) -> None:
        """Keeps the reply, unless it alone is larger than a quarter of the cache."""
        self._drop(key)
        if _weight(reply) > self._max_bytes // 4:
            return
        self._entries[key] = (reply, self._monotonic() + seconds)
        self._bytes += _weight(reply)
        while self._bytes > self._max_bytes:
            self._drop(next(iter(self._entries)))

    def _drop(self, key: Hashable) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._bytes -= _weight(entry[0])


def _weight(reply: Reply) -> int:
    # An empty body takes room as well: headers, key, bookkeeping.
    return len(reply.body) + 1024
