"""Lambda: execution environments, event source mappings of queues and of the stream, and their retries.

Facts are those of the AWS Lambda developer guide, "Using Lambda with Amazon SQS" and "Using AWS Lambda with
Amazon DynamoDB": a queue message that is not reported as handled is received again after the visibility
timeout; a stream batch is retried from the first failed record, then halved, then given up and described in
a dead letter, and later records of the shard wait meanwhile. An event of an asynchronous invocation may reach
the function more than once, late, or not at all ("How Lambda handles errors and retries with asynchronous
invocation").
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from replicate_proxy.errors import NotFoundError, ProxyError
from tools.simulation.scheduler import ProcessCrash

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tools.simulation.observation import Queues
    from tools.simulation.scheduler import Actor, Scheduler

type HandleMessage = Callable[[Any, str], None]
type HandleBatch = Callable[[Any, Sequence[Mapping[str, Any]]], int | None]


@dataclass
class EnvironmentPool:
    """Execution environments of one function: idle ones are used again, the last one first, if `reuses`."""

    build: Callable[[], Any]
    reuses: bool = True
    idle: list[Any] = field(default_factory=list)
    running: int = 0

    def take(self) -> Any:
        self.running += 1
        return self.idle.pop() if self.idle else self.build()

    def give_back(self, environment: Any, *, is_crashed: bool) -> None:
        self.running -= 1
        if self.reuses and not is_crashed:
            self.idle.append(environment)


def report_unexpected(scheduler: Scheduler, actor: Actor, error: BaseException | None) -> None:
    """Report an exception that ended an invocation, unless it says what to do next."""
    if isinstance(error, Exception) and not isinstance(error, ProxyError):
        scheduler.on_failure(actor, error)


@dataclass(slots=True)
class FailedReceive:
    """One receive of a message after which it was not deleted. `is_clean`: without any injected fault."""

    queue: str
    message_id: str
    body: str
    error: BaseException | None
    is_clean: bool


@dataclass(kw_only=True)
class QueueSource:
    """Invokes a function with the messages of a queue."""

    scheduler: Scheduler
    queues: Queues
    queue: str
    function: str
    pool: EnvironmentPool
    handle: HandleMessage
    timeout_seconds: float
    batch_size: int
    max_concurrency: int
    on_failed_receive: Callable[[FailedReceive], None]
    _invocations: int = 0
    _next_poll_at: float = float("inf")

    def poll(self) -> None:
        """Receive what is visible, as far as the concurrency allows."""
        self._next_poll_at = float("inf")
        while self.pool.running < self.max_concurrency:
            messages = self.queues.receive(self.queue, self.batch_size)
            if not messages:
                break
            self._invoke(messages)
        self.schedule_poll()

    def schedule_poll(self) -> None:
        """Poll again when the next message becomes visible."""
        due = self.queues.next_due(self.queue)
        if due is None or self.pool.running >= self.max_concurrency:
            return
        due = max(due, self.scheduler.now)
        if due < self._next_poll_at:
            self._next_poll_at = due
            self.scheduler.call_at(due, self._poll_if_due)

    def _poll_if_due(self) -> None:
        if self._next_poll_at <= self.scheduler.now:
            self.poll()

    def _invoke(self, messages: Sequence[Mapping[str, Any]]) -> None:
        environment = self.pool.take()
        self._invocations += 1
        handled: list[Mapping[str, Any]] = []
        failed: dict[str, BaseException] = {}

        def run() -> None:
            for message in messages:
                try:
                    self.handle(environment, message["Body"])
                except NotFoundError:
                    handled.append(message)
                except Exception as error:  # noqa: BLE001 - reported to the event source mapping
                    failed[message["MessageId"]] = error
                else:
                    handled.append(message)

        def on_end(actor: Actor, error: BaseException | None) -> None:
            is_crashed = isinstance(error, ProcessCrash)
            self.pool.give_back(environment, is_crashed=is_crashed)
            for message in messages:
                if not is_crashed and message in handled:
                    self.queues.delete(self.queue, message["ReceiptHandle"])
                    continue
                self.on_failed_receive(
                    FailedReceive(
                        self.queue,
                        message["MessageId"],
                        message["Body"],
                        failed.get(message["MessageId"], error),
                        is_clean=actor.injected_faults == 0 and not is_crashed,
                    )
                )
            self.poll()

        self.scheduler.spawn(
            f"{self.function}-{self._invocations}",
            run,
            timeout_seconds=self.timeout_seconds,
            on_end=on_end,
        )


@dataclass(kw_only=True)
class AsynchronousFunction:
    """Invokes a function once for each delay that `draw_delays` returns for an event. Nothing is retried."""

    scheduler: Scheduler
    function: str
    pool: EnvironmentPool
    handle: Callable[[Any], None]
    timeout_seconds: float
    draw_delays: Callable[[], Sequence[float]]
    _invocations: int = 0

    def accept(self, _event: object) -> None:
        """Put an event into the queue of the function. What it says is not passed on."""
        for delay in self.draw_delays():
            self.scheduler.call_at(self.scheduler.now + delay, self._invoke)

    def _invoke(self) -> None:
        environment = self.pool.take()
        self._invocations += 1

        def on_end(actor: Actor, error: BaseException | None) -> None:
            self.pool.give_back(environment, is_crashed=isinstance(error, ProcessCrash))
            report_unexpected(self.scheduler, actor, error)

        self.scheduler.spawn(
            f"{self.function}-{self._invocations}",
            lambda: self.handle(environment),
            timeout_seconds=self.timeout_seconds,
            on_end=on_end,
        )


@dataclass
class FilteredShard:
    """The records of a shard that an event source mapping's filter lets through."""

    read_all: Callable[[int, int], Sequence[Mapping[str, Any]]]
    matches: Callable[[Mapping[str, Any]], bool]
    _records: list[Mapping[str, Any]] = field(default_factory=list)
    _position: int = 0

    def read(self, position: int, limit: int) -> Sequence[Mapping[str, Any]]:
        """Return up to `limit` matching records; `position` counts those."""
        while records := self.read_all(self._position, 1000):
            self._position += len(records)
            self._records += filter(self.matches, records)
        return self._records[position : position + limit]


@dataclass(kw_only=True)
class StreamSource:
    """Invokes a function with the records of one shard, one batch at a time.

    `read(position, limit)` returns records of the shard.
    """

    scheduler: Scheduler
    function: str
    shard_id: str
    stream_arn: str
    read: Callable[[int, int], Sequence[Mapping[str, Any]]]
    pool: EnvironmentPool
    handle: HandleBatch
    timeout_seconds: float
    send_dead_letter: Callable[[str], None]
    max_attempts: int = 6
    batch_size: int = 25
    max_age_seconds: float = 3600.0
    _position: int = 0
    _attempts: int = 0
    _is_busy: bool = False
    _invocations: int = 0

    def __post_init__(self) -> None:
        self._limit = self.batch_size

    def poll(self) -> None:
        """Invoke the function if there are records and no batch of the shard is being handled."""
        if self._is_busy:
            return
        records = self.read(self._position, self._limit)
        if records:
            self._is_busy = True
            self._invoke(records)

    @property
    def has_backlog(self) -> bool:
        return self._is_busy or bool(self.read(self._position, 1))

    def _invoke(self, records: Sequence[Mapping[str, Any]]) -> None:
        environment = self.pool.take()
        self._invocations += 1
        outcome: list[int | None] = []

        def run() -> None:
            outcome.append(self.handle(environment, records))

        def on_end(actor: Actor, error: BaseException | None) -> None:
            self.pool.give_back(environment, is_crashed=isinstance(error, ProcessCrash))
            report_unexpected(self.scheduler, actor, error)
            self._is_busy = False
            self._finish(records, 0 if error is not None else outcome[0])

        self.scheduler.spawn(
            f"{self.function}-{self.shard_id[-1]}-{self._invocations}",
            run,
            timeout_seconds=self.timeout_seconds,
            on_end=on_end,
        )

    def _finish(self, records: Sequence[Mapping[str, Any]], failed_index: int | None) -> None:
        if failed_index is None:
            self._advance(len(records))
            self.poll()
            return
        if failed_index > 0:
            self._advance(failed_index)
        self._attempts += 1
        remaining = len(records) - failed_index
        age = self.scheduler.now - float(records[failed_index]["dynamodb"]["ApproximateCreationDateTime"])
        if self._attempts >= self.max_attempts or age > self.max_age_seconds:
            self._give_up(records[failed_index:])
            self._advance(remaining)
        else:
            self._limit = max(1, remaining // 2)
        self.scheduler.call_at(self.scheduler.now + min(2.0**self._attempts, 60.0), self.poll)

    def _advance(self, count: int) -> None:
        self._position += count
        self._attempts = 0
        self._limit = self.batch_size

    def _give_up(self, records: Sequence[Mapping[str, Any]]) -> None:
        batch = {
            "shardId": self.shard_id,
            "streamArn": self.stream_arn,
            "startSequenceNumber": records[0]["dynamodb"]["SequenceNumber"],
            "endSequenceNumber": records[-1]["dynamodb"]["SequenceNumber"],
            "batchSize": len(records),
        }
        context = {"functionArn": self.function}
        self.send_dead_letter(
            json.dumps({"version": "1.0", "requestContext": context, "DDBStreamBatchInfo": batch})
        )
