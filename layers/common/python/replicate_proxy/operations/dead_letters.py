"""Messages in dead-letter queues, and which of them a request means. Pure.

Looking into dead-letter queues, sending their messages back, and throwing them away.

Going back is receive, send, delete, in that order: a crash in between leaves a message in both queues,
never in none, and the consumers take the same message twice without harm. (SQS can move messages by itself,
but neither picks them nor keeps their message group.)
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol

from replicate_proxy.errors import ApiError, NotFoundError, ProxyError
from replicate_proxy.observability import logger

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from replicate_proxy.ports import Clock


@dataclass(frozen=True)
class DeadLetter:
    """One message as received: `receipt` deletes or releases it, `group` is its tenant for fair queues.

    `target` is the ARN that EventBridge could not deliver to, for messages of the bus.
    """

    id: str
    receipt_handle: str = field(repr=False)
    body: str = field(repr=False)
    sent_at: datetime
    receive_count: int
    message_group: str | None = None
    target_arn: str | None = None
    error_message: str | None = None


@dataclass(frozen=True)
class DeadLetterFilter:
    """Empty means all."""

    tenant: str | None = None
    job_id: str | None = None
    message_ids: frozenset[str] = frozenset()

    def matches(self, letter: DeadLetter) -> bool:
        subject = parse_subject(letter.body)
        return (
            (self.tenant is None or self.tenant == subject.get("tenant"))
            and (self.job_id is None or self.job_id == subject.get("job_id"))
            and (not self.message_ids or letter.id in self.message_ids)
        )


def parse_subject(body: str) -> Mapping[str, Any]:
    """`tenant` and `job_id` of a command or a bus event; empty where the body says neither."""
    try:
        loaded = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    places = [loaded, *(_inside(loaded, *path) for path in (("detail", "data"), ("data",)))]
    found = next((place for place in places if isinstance(place, dict) and "tenant" in place), {})
    return {name: found[name] for name in ("tenant", "job_id") if name in found}


def _inside(value: Any, *path: str) -> Any:
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


_HIDDEN_SECONDS = 60  # longer than one request can work
_BATCH = 10


@dataclass(frozen=True)
class DeadLetterQueue:
    """A dead-letter queue and where its messages came from: one queue, or for the bus, one for each target.

    Letters that came from no queue are made good by `again`, which raises ProxyError for one that must stay;
    `note` says how.
    """

    url: str
    source_url: str | None = None
    source_urls_by_target: Mapping[str, str] = field(default_factory=dict)
    retry: Callable[[DeadLetter], None] | None = None
    note: str = ""

    def find_source_url(self, letter: DeadLetter) -> str | None:
        """The URL of the queue that the message belongs into."""
        return self.source_url or self.source_urls_by_target.get((letter.target_arn or "").rpartition(":")[2])

    @property
    def can_redrive(self) -> bool:
        return bool(self.source_url or self.source_urls_by_target or self.retry)


@dataclass(frozen=True)
class QueueDepth:
    """Messages that wait and messages that are being worked on; SQS counts approximately."""

    waiting: int
    in_flight: int


@dataclass(frozen=True)
class BulkResult:
    """What a redrive or discard did; `done` is False where time or the limit ended it."""

    handled: int
    skipped: int
    done: bool


class QueueClient(Protocol):
    """What this needs of SQS."""

    def get_depth(self, url: str) -> QueueDepth: ...

    def receive(self, url: str, *, limit: int, visibility_timeout_seconds: int) -> list[DeadLetter]: ...

    def send(self, url: str, letter: DeadLetter) -> None: ...

    def delete(self, url: str, letter: DeadLetter) -> None: ...

    def release(self, url: str, letters: list[DeadLetter]) -> None: ...


class DeadLetterService:
    """All dead-letter queues by name. One redrive or discard takes `seconds`; callers repeat until `done`."""

    def __init__(
        self,
        client: QueueClient,
        queues_by_name: Mapping[str, DeadLetterQueue],
        *,
        clock: Clock,
        sleep: Callable[[float], None],
        max_duration_seconds: float = 20,
    ) -> None:
        self._queues = client
        self._by_name = queues_by_name
        self._clock = clock
        self._sleep = sleep
        self._seconds = timedelta(seconds=max_duration_seconds)

    def get_depths(self) -> dict[str, tuple[DeadLetterQueue, QueueDepth]]:
        return {name: (queue, self._queues.get_depth(queue.url)) for name, queue in self._by_name.items()}

    def peek(self, name: str, *, limit: int) -> list[DeadLetter]:
        """Some messages; they stay where they are."""
        url = self._named(name).url
        seen: dict[str, DeadLetter] = {}
        while len(seen) < limit:
            letters = self._queues.receive(
                url, limit=min(_BATCH, limit - len(seen)), visibility_timeout_seconds=_HIDDEN_SECONDS
            )
            if not letters:
                break
            seen |= {letter.id: letter for letter in letters}
        self._queues.release(url, list(seen.values()))
        return list(seen.values())

    def redrive(
        self, name: str, message_filter: DeadLetterFilter, *, limit: int, rate_per_second: float
    ) -> BulkResult:
        """Sends messages back, at most `rate` a second."""
        queue = self._named(name)
        if not queue.can_redrive:
            raise ApiError(409, "Cannot be redriven", queue.note)

        def back(letter: DeadLetter) -> bool:
            if not self._sent_back(queue, letter):
                return False
            self._queues.delete(queue.url, letter)
            self._sleep(1 / rate_per_second)
            return True

        return self._each(queue, message_filter, limit, back)

    def _sent_back(self, queue: DeadLetterQueue, letter: DeadLetter) -> bool:
        source = queue.find_source_url(letter)
        if source is not None:
            self._queues.send(source, letter)
            return True
        if queue.retry is None:
            return False
        try:
            queue.retry(letter)
        except ProxyError as error:
            logger.warning("dead letter stays", message_id=letter.id, reason=str(error))
            return False
        return True

    def discard(self, name: str, message_filter: DeadLetterFilter, *, limit: int) -> BulkResult:
        queue = self._named(name)

        def away(letter: DeadLetter) -> bool:
            self._queues.delete(queue.url, letter)
            logger.info("dead letter discarded", queue=name, message_id=letter.id)
            return True

        return self._each(queue, message_filter, limit, away)

    def _each(
        self, queue: DeadLetterQueue, which: DeadLetterFilter, limit: int, act: Callable[[DeadLetter], bool]
    ) -> BulkResult:
        ends = self._clock.now() + self._seconds
        handled, left, done = 0, [], False
        try:
            while handled < limit and self._clock.now() < ends and not done:
                letters = self._queues.receive(
                    queue.url, limit=min(_BATCH, limit - handled), visibility_timeout_seconds=_HIDDEN_SECONDS
                )
                done = not letters
                for letter in letters:
                    if which.matches(letter) and act(letter):
                        handled += 1
                    else:
                        left.append(letter)
        finally:
            self._queues.release(queue.url, left)
        return BulkResult(handled=handled, skipped=len(left), done=done)

    def _named(self, name: str) -> DeadLetterQueue:
        queue = self._by_name.get(name)
        if queue is None:
            raise NotFoundError("no such queue")
        return queue
