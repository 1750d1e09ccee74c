"""Dead letters: messages in dead-letter queues, to inspect, redrive or discard.

A redrive receives a message, sends it to the queue it came from, and deletes it, in that order. A crash in
between leaves the message in both queues, never in none, and consumers handle a repeated message. (The
redrive of SQS itself can neither select messages nor preserve their message group.) Messages that came from
no queue are failed Lambda invocations, which are repeated instead.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol

from replicate_proxy.audit.model import AuditAction
from replicate_proxy.errors import ApiError, ProxyError, UnknownNameError
from replicate_proxy.observability import logger

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from replicate_proxy.audit.log import AuditLog
    from replicate_proxy.ports import Clock


_VISIBILITY_TIMEOUT_SECONDS = 60  # longer than one request takes
_MAX_BATCH_SIZE = 10


@dataclass(frozen=True)
class DeadLetter:
    """A message received from a dead-letter queue.

    `message_group` is its tenant, for fair queues. `target_arn` and `error_message` are set by EventBridge on
    events that it could not deliver.
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
    """Selects messages; an empty filter selects all."""

    tenant: str | None = None
    job_id: str | None = None
    message_ids: frozenset[str] = frozenset()

    def matches(self, message: DeadLetter) -> bool:
        subject = parse_subject(message.body)
        return (
            (self.tenant is None or self.tenant == subject.get("tenant"))
            and (self.job_id is None or self.job_id == subject.get("job_id"))
            and (not self.message_ids or message.id in self.message_ids)
        )


def parse_subject(body: str) -> Mapping[str, Any]:
    """Return `tenant` and `job_id` of a command or bus event; empty if the body has neither."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    candidates = (content, _get_nested(content, "detail", "data"), _get_nested(content, "data"))
    subject = next((value for value in candidates if isinstance(value, dict) and "tenant" in value), {})
    return {name: subject[name] for name in ("tenant", "job_id") if name in subject}


def _get_nested(value: Any, *path: str) -> Any:
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


@dataclass(frozen=True)
class DeadLetterQueue:
    """A dead-letter queue, and where its messages go in a redrive.

    Messages of a queue go back to `source_url`. Events of the bus go to the queue that is named after their
    target, in `source_urls_by_target`. For failed invocations `retry` repeats the invocation; it raises
    ProxyError if the message must stay. `note` explains the redrive to operators.
    """

    url: str
    source_url: str | None = None
    source_urls_by_target: Mapping[str, str] = field(default_factory=dict)
    retry: Callable[[DeadLetter], None] | None = None
    note: str = ""

    @property
    def can_redrive(self) -> bool:
        return bool(self.source_url or self.source_urls_by_target or self.retry)

    def find_source_url(self, message: DeadLetter) -> str | None:
        """Return the URL of the queue that the message came from, None if it came from no queue."""
        queue_name = (message.target_arn or "").rpartition(":")[2]
        return self.source_url or self.source_urls_by_target.get(queue_name)


@dataclass(frozen=True)
class QueueDepth:
    """The approximate numbers of visible messages, of those that are being processed, and of delayed ones."""

    waiting: int
    in_flight: int
    delayed: int = 0

    @property
    def total(self) -> int:
        return self.waiting + self.in_flight + self.delayed


@dataclass(frozen=True)
class PeekResult:
    """A queue, its depth, and some of its messages."""

    queue: DeadLetterQueue
    depth: QueueDepth
    messages: tuple[DeadLetter, ...]


@dataclass(frozen=True)
class DeadLetterResult:
    """The result of a redrive or discard; `done` is False if time or the limit ended it early."""

    handled: int
    skipped: int
    done: bool


class QueueClient(Protocol):
    """Access to SQS."""

    def get_depth(self, url: str) -> QueueDepth: ...

    def receive(
        self, url: str, *, limit: int, visibility_timeout_seconds: int, wait: bool = True
    ) -> list[DeadLetter]:
        """Receive at most 10 messages.

        An empty list means that the queue has no visible ones. Without `wait`, which takes a second to find
        that out, some may have been overlooked.
        """

    def send(self, url: str, message: DeadLetter) -> None: ...

    def delete(self, url: str, message: DeadLetter) -> None: ...

    def release(self, url: str, messages: list[DeadLetter]) -> None:
        """Make received messages visible again."""


class DeadLetterService:
    """Inspects, redrives and discards the messages of all dead-letter queues, addressed by name.

    One redrive or discard takes at most `max_duration_seconds`; callers repeat it until it is done.
    """

    def __init__(
        self,
        client: QueueClient,
        queues_by_name: Mapping[str, DeadLetterQueue],
        *,
        clock: Clock,
        sleep: Callable[[float], None],
        audit: AuditLog,
        max_duration_seconds: float = 20,
    ) -> None:
        self._client = client
        self._queues_by_name = queues_by_name
        self._clock = clock
        self._sleep = sleep
        self._audit = audit
        self._max_duration = timedelta(seconds=max_duration_seconds)

    def peek(self, name: str, *, limit: int) -> PeekResult:
        """Return the queue with at most `limit` messages, which stay in it.

        It waits only for messages that the queue says it has, since an empty receive takes a second.
        """
        queue = self._find_queue(name)
        url, depth = queue.url, self._client.get_depth(queue.url)
        expected = min(depth.waiting, limit)
        messages: dict[str, DeadLetter] = {}
        while len(messages) < limit:
            batch = self._receive(url, limit - len(messages), wait=len(messages) < expected)
            if not batch:
                break
            messages |= {message.id: message for message in batch}
        self._client.release(url, list(messages.values()))
        return PeekResult(queue, depth, tuple(messages.values()))

    def redrive(
        self, name: str, message_filter: DeadLetterFilter, *, limit: int, rate_per_second: float
    ) -> DeadLetterResult:
        """Redrive the matching messages. Raises a 409 ApiError if the queue cannot be redriven."""
        queue = self._find_queue(name)
        if not queue.can_redrive:
            raise ApiError(409, "Cannot be redriven", queue.note)

        def redrive_one(message: DeadLetter) -> bool:
            if not self._resend_or_retry(queue, message):
                return False
            self._client.delete(queue.url, message)
            return True

        # An interval longer than a call makes no difference, and may be more than a timedelta can hold.
        interval = timedelta(seconds=min(1 / rate_per_second, self._max_duration.total_seconds()))
        return self._audit_process(
            AuditAction.REDRIVE, name, message_filter, limit, redrive_one, interval=interval
        )

    def discard(self, name: str, message_filter: DeadLetterFilter, *, limit: int) -> DeadLetterResult:
        """Delete the matching messages."""
        queue = self._find_queue(name)

        def discard_one(message: DeadLetter) -> bool:
            self._client.delete(queue.url, message)
            logger.info("dead letter discarded", queue=name, message_id=message.id)
            return True

        return self._audit_process(AuditAction.DISCARD, name, message_filter, limit, discard_one)

    def _resend_or_retry(self, queue: DeadLetterQueue, message: DeadLetter) -> bool:
        """Return whether the message was sent to its source or its invocation repeated."""
        source_url = queue.find_source_url(message)
        if source_url is not None:
            self._client.send(source_url, message)
            return True
        if queue.retry is None:
            return False
        try:
            queue.retry(message)
        except ProxyError as error:
            logger.warning("dead letter not redriven", message_id=message.id, reason=str(error))
            return False
        return True

    def _audit_process(
        self,
        action: AuditAction,
        name: str,
        message_filter: DeadLetterFilter,
        limit: int,
        process: Callable[[DeadLetter], bool],
        *,
        interval: timedelta = timedelta(),
    ) -> DeadLetterResult:
        parameters = {
            "job_id": message_filter.job_id,
            "message_ids": sorted(message_filter.message_ids),
            "limit": limit,
        }
        with self._audit.change(
            action, f"queues/{name}", tenant=message_filter.tenant, parameters=parameters
        ) as change:
            result = self._process_matching(self._find_queue(name), message_filter, limit, process, interval)
            change.after = asdict(result)
        return result

    def _process_matching(
        self,
        queue: DeadLetterQueue,
        message_filter: DeadLetterFilter,
        limit: int,
        process: Callable[[DeadLetter], bool],
        interval: timedelta,
    ) -> DeadLetterResult:
        """Call `process` for each matching message until the queue, the limit or the time is exhausted.

        Messages that do not match, or for which `process` returns False, are released at the end, as are
        those for which there is no time. A message is begun only if there is time for the interval after it,
        but for the first one: each call handles one.
        """
        deadline = latest_start = self._clock.now() + self._max_duration
        handled, done = 0, False
        skipped: list[DeadLetter] = []
        pending: list[DeadLetter] = []
        try:
            while handled < limit and self._clock.now() <= latest_start and not done:
                pending = self._receive(queue.url, limit - handled)
                done = not pending
                while pending and self._clock.now() <= latest_start:
                    message = pending.pop(0)
                    if message_filter.matches(message) and process(message):
                        handled += 1
                        latest_start = deadline - interval
                        self._wait(min(interval, deadline - self._clock.now()))
                    else:
                        skipped.append(message)
        finally:
            self._client.release(queue.url, [*skipped, *pending])
        return DeadLetterResult(handled=handled, skipped=len(skipped), done=done)

    def _wait(self, duration: timedelta) -> None:
        if duration > timedelta():
            self._sleep(duration.total_seconds())

    def _receive(self, url: str, limit: int, *, wait: bool = True) -> list[DeadLetter]:
        return self._client.receive(
            url,
            limit=min(_MAX_BATCH_SIZE, limit),
            visibility_timeout_seconds=_VISIBILITY_TIMEOUT_SECONDS,
            wait=wait,
        )

    def _find_queue(self, name: str) -> DeadLetterQueue:
        queue = self._queues_by_name.get(name)
        if queue is None:
            raise UnknownNameError(f"no queue {name}; the queues are {', '.join(self._queues_by_name)}")
        return queue
