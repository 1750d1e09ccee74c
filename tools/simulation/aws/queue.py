"""A standard queue of SQS: which messages can be received, which are in flight, and when that changes."""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

# Amazon SQS developer guide, "Amazon SQS message quotas" and "Amazon SQS standard queue quotas"
_DEFAULT_VISIBILITY_SECONDS = 30
_DEFAULT_RETENTION_SECONDS = 4 * 24 * 3600
MAX_IN_FLIGHT = 120_000
# Amazon SQS developer guide, "How Amazon SQS fair queues work": a group is a noisy neighbor with more than so
# large a share of the messages in flight, of which it has so many, or of the recent processing time. How long
# "recent" is, is not documented; after five minutes without messages a group is quiet again.
_NOISY_SHARE = 0.1
_MIN_NOISY_IN_FLIGHT = 30
_RECENT_SECONDS = 300.0


@dataclass(frozen=True)
class QueueSettings:
    """The attributes of a queue; `dead_letter_queue` is the name of another queue."""

    name: str
    visibility_seconds: int = _DEFAULT_VISIBILITY_SECONDS
    delay_seconds: int = 0
    retention_seconds: int = _DEFAULT_RETENTION_SECONDS
    dead_letter_queue: str | None = None
    max_receive_count: int = 0


@dataclass(eq=False, slots=True)
class Message:
    """One copy of a message. `number` tells copies apart; `receipt` is the handle of the last receive."""

    number: int
    id: str
    body: str
    sent_at: float
    group: str | None = None
    attributes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    receive_count: int = 0
    first_received_at: float | None = None
    received_at: float = 0.0
    receipt: str | None = None
    available_at: float = 0.0
    dead_letter_source: str | None = None


type DeliveryOrder = Callable[[Queue, float], Message]
"""Chooses the next message to receive from a queue with visible messages, at a time."""


class Queue:
    """A standard queue. Its methods must be called after `advance` to the current time."""

    def __init__(self, settings: QueueSettings) -> None:
        self.settings = settings
        self._visible: dict[str | None, _Group] = {}
        self._visible_count = 0
        self._in_flight: dict[int, Message] = {}
        self._in_flight_by_group: dict[str | None, int] = {}
        self._processing = ProcessingTimes()
        # Delayed messages and those in flight by the time at which they become visible; entries of messages
        # whose time has changed since, or that are deleted, are skipped.
        self._delayed: dict[int, Message] = {}
        self._due: list[tuple[float, int]] = []

    @property
    def name(self) -> str:
        return self.settings.name

    @property
    def visible_count(self) -> int:
        return self._visible_count

    @property
    def in_flight_count(self) -> int:
        return len(self._in_flight)

    @property
    def delayed_count(self) -> int:
        return len(self._delayed)

    @property
    def groups(self) -> Iterable[str | None]:
        """The message groups that have visible messages."""
        return self._visible.keys()

    def visible(self, group: str | None = None, *, every_group: bool = True) -> list[Message]:
        """Return the visible messages of all groups or one, in the order in which they became visible."""
        groups = self._visible.values() if every_group else [self._visible[group]]
        messages = [message for entries in groups for message in entries.messages.values()]
        return sorted(messages, key=lambda message: (message.available_at, message.number))

    def in_flight_of(self, group: str | None) -> int:
        return self._in_flight_by_group.get(group, 0)

    def is_noisy(self, group: str | None, now: float) -> bool:
        """Return whether a group is a noisy neighbor. A message without a group is one of its own."""
        if group is None:
            return False
        count = self.in_flight_of(group)
        if count >= _MIN_NOISY_IN_FLIGHT and count > _NOISY_SHARE * self.in_flight_count:
            return True
        return self._processing.get_share(group, now) > _NOISY_SHARE

    def first_of(self, group: str | None) -> Message:
        """Return the message of a group that became visible first."""
        return self._visible[group].first()

    def messages(self) -> list[Message]:
        """Return all messages: visible, delayed and in flight."""
        return [*self.visible(), *self._delayed.values(), *self._in_flight.values()]

    def add(self, message: Message, available_at: float, now: float) -> None:
        if available_at <= now:
            self._show(message, available_at)
        else:
            self._delayed[message.number] = message
            self._schedule(message, available_at)

    def receive(self, message: Message, receipt: str, now: float, visibility_seconds: float) -> None:
        """Hide a visible message for the time."""
        self._hide(message)
        message.receive_count += 1
        message.receipt = receipt
        if message.first_received_at is None:
            message.first_received_at = now
        message.received_at = now
        self._processing.start(message.group, now)
        self._in_flight[message.number] = message
        self._in_flight_by_group[message.group] = self.in_flight_of(message.group) + 1
        self._schedule(message, now + visibility_seconds)
        if visibility_seconds <= 0:
            self.advance(now)

    def change_visibility(self, message: Message, now: float, visibility_seconds: float) -> None:
        """Change the time at which a message in flight becomes visible."""
        self._schedule(message, now + visibility_seconds)
        self.advance(now)

    def is_in_flight(self, message: Message) -> bool:
        return message.number in self._in_flight

    def remove(self, message: Message, now: float) -> bool:
        """Delete a message; return False if it is not in the queue any more."""
        if message.number in self._in_flight:
            self._land(message, now)
        elif message.number in self._delayed:
            del self._delayed[message.number]
        elif message.group in self._visible and message.number in self._visible[message.group].messages:
            self._hide(message)
        else:
            return False
        return True

    def advance(self, now: float) -> None:
        """Make the messages visible whose time has come."""
        due = self._due
        while due and due[0][0] <= now:
            available_at, number = heapq.heappop(due)
            message = self._delayed.get(number) or self._in_flight.get(number)
            if message is None or message.available_at != available_at:
                continue
            if number in self._delayed:
                del self._delayed[number]
            else:
                self._land(message, now)
            self._show(message, available_at)

    def next_due(self) -> float | None:
        """Return the time at which the next hidden message becomes visible, None if there is none."""
        due = self._due
        while due:
            available_at, number = due[0]
            message = self._delayed.get(number) or self._in_flight.get(number)
            if message is not None and message.available_at == available_at:
                return available_at
            heapq.heappop(due)
        return None

    def _schedule(self, message: Message, available_at: float) -> None:
        message.available_at = available_at
        heapq.heappush(self._due, (available_at, message.number))

    def _show(self, message: Message, available_at: float) -> None:
        message.available_at = available_at
        group = self._visible.get(message.group)
        if group is None:
            group = self._visible[message.group] = _Group()
        group.add(message)
        self._visible_count += 1

    def _hide(self, message: Message) -> None:
        group = self._visible[message.group]
        del group.messages[message.number]
        if not group.messages:
            del self._visible[message.group]
        self._visible_count -= 1

    def _land(self, message: Message, now: float) -> None:
        """Take a message out of those in flight."""
        self._processing.end(message.group, message.received_at, now)
        del self._in_flight[message.number]
        rest = self._in_flight_by_group[message.group] - 1
        if rest:
            self._in_flight_by_group[message.group] = rest
        else:
            del self._in_flight_by_group[message.group]


class _Group:
    """The visible messages of a message group."""

    def __init__(self) -> None:
        self.messages: dict[int, Message] = {}
        self._order: list[tuple[float, int]] = []

    def add(self, message: Message) -> None:
        self.messages[message.number] = message
        heapq.heappush(self._order, (message.available_at, message.number))

    def first(self) -> Message:
        while True:
            available_at, number = self._order[0]
            message = self.messages.get(number)
            if message is not None and message.available_at == available_at:
                return message
            heapq.heappop(self._order)


class ProcessingTimes:
    """How long the messages of each group have been in flight lately."""

    def __init__(self) -> None:
        self._ended: deque[tuple[float, str | None, float]] = deque()
        self._ended_seconds: dict[str | None, float] = {}
        self._running: dict[str | None, int] = {}
        self._started_at_sum: dict[str | None, float] = {}

    def start(self, group: str | None, now: float) -> None:
        self._running[group] = self._running.get(group, 0) + 1
        self._started_at_sum[group] = self._started_at_sum.get(group, 0.0) + now

    def end(self, group: str | None, started_at: float, now: float) -> None:
        self._running[group] -= 1
        self._started_at_sum[group] -= started_at
        self._ended.append((now, group, now - started_at))
        self._ended_seconds[group] = self._ended_seconds.get(group, 0.0) + now - started_at

    def get_share(self, group: str, now: float) -> float:
        """Return the share of a group in all processing time: of what ended lately, and of what goes on."""
        while self._ended and self._ended[0][0] < now - _RECENT_SECONDS:
            _, other, seconds = self._ended.popleft()
            self._ended_seconds[other] -= seconds
        total = sum(self._measure(other, now) for other in self._running)
        return self._measure(group, now) / total if total > 0 else 0.0

    def _measure(self, group: str | None, now: float) -> float:
        count = self._running.get(group, 0)
        running = count * now - self._started_at_sum[group] if count else 0.0
        return self._ended_seconds.get(group, 0.0) + running


def choose_fairly(queue: Queue, now: float) -> Message:
    """Return the next message of a fair queue.

    Messages of quiet groups come first, and those of noisy groups with few messages in flight before others
    (Amazon SQS developer guide, "How Amazon SQS fair queues work"). SQS gives no order beyond that; here the
    older message decides.
    """
    groups = list(queue.groups)
    if len(groups) == 1:
        return queue.first_of(groups[0])
    candidates = []
    for group in groups:
        message = queue.first_of(group)
        is_noisy = queue.is_noisy(group, now)
        in_flight = queue.in_flight_of(group) if is_noisy else 0
        candidates.append((is_noisy, in_flight, message.available_at, message.number, message))
    return min(candidates)[4]


def choose_oldest(queue: Queue, _now: float) -> Message:
    """Return the next message of a queue without message groups."""
    return min(map(queue.first_of, queue.groups), key=lambda message: (message.available_at, message.number))
