"""The state of all queues: how many messages they hold, and for how long the oldest one waits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from replicate_proxy.errors import ProxyError
from replicate_proxy.observability import logger
from replicate_proxy.parallel import map_in_parallel
from replicate_proxy.timed_cache import TimedCache

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from replicate_proxy.operations.dead_letters import DeadLetterQueue, QueueClient, QueueDepth

# CloudWatch has one value a minute, and each one that is read costs a request.
_AGE_CACHE_SECONDS = 60.0
_MAX_CACHED = 100
_NO_METRIC = "CloudWatch has no value of the last minutes yet"


class QueueAges(Protocol):
    """Tells how old the oldest message of a queue is."""

    def read(self, queue_names: Sequence[str]) -> Mapping[str, int]:
        """Return the seconds by queue name, without queues for which nothing is known. Raises ProxyError."""
        ...


@dataclass(frozen=True, slots=True)
class QueueState:
    """The depth of a queue. `oldest_seconds` is None if the queue is empty, or for `unknown_reason`."""

    depth: QueueDepth
    oldest_seconds: int | None = None
    unknown_reason: str | None = None


@dataclass(frozen=True, slots=True)
class QueuePair:
    """A dead-letter queue, and the queue that it belongs to, if its messages come from a queue."""

    queue: DeadLetterQueue
    dead_letters: QueueState
    messages: QueueState | None


class QueueMonitor:
    """Reads the state of the queues. Ages are only asked for where there are messages."""

    def __init__(
        self, client: QueueClient, ages: QueueAges, queues_by_name: Mapping[str, DeadLetterQueue]
    ) -> None:
        self._client = client
        self._ages = ages
        self._queues_by_name = queues_by_name
        self._known_ages: TimedCache[int] = TimedCache(_MAX_CACHED)

    def read(self) -> dict[str, QueuePair]:
        """Return the state of each dead-letter queue and its source queue, by name."""
        urls = list(self._list_urls())
        depths = dict(zip(urls, map_in_parallel(self._client.get_depth, urls), strict=True))
        states = self._add_ages(depths)
        return {
            name: QueuePair(queue, states[queue.url], states.get(queue.source_url or ""))
            for name, queue in self._queues_by_name.items()
        }

    def _list_urls(self) -> Sequence[str]:
        queues = self._queues_by_name.values()
        return [queue.url for queue in queues] + [queue.source_url for queue in queues if queue.source_url]

    def _add_ages(self, depths: Mapping[str, QueueDepth]) -> dict[str, QueueState]:
        names = {url: url.rpartition("/")[2] for url, depth in depths.items() if depth.total}
        reason = self._refresh_ages([name for name in names.values() if not self._is_fresh(name)])
        return {
            url: self._build_state(depth, names.get(url), reason or _NO_METRIC)
            for url, depth in depths.items()
        }

    def _refresh_ages(self, names: Sequence[str]) -> str | None:
        """Read the ages of these queues; return why that failed."""
        if not names:
            return None
        try:
            ages = self._ages.read(names)
        except ProxyError as error:
            logger.warning("ages of queues not read", reason=str(error))
            return str(error)
        for name in ages:
            self._known_ages.put(name, ages[name], _AGE_CACHE_SECONDS)
        return None

    def _is_fresh(self, name: str) -> bool:
        return self._known_ages.find_fresh(name) is not None

    def _build_state(self, depth: QueueDepth, name: str | None, reason: str) -> QueueState:
        if name is None:
            return QueueState(depth)
        seconds = self._known_ages.find_fresh(name)
        return QueueState(depth, seconds, None if seconds is not None else reason)
