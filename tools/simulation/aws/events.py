"""The operations of EventBridge, and the delivery of events to queues.

PutEvents makes a pending delivery for each matching target. `deliver_due` carries out those that are due; the
scheduler of the simulation calls it at the times that `on_pending` and `next_due` give.
"""

from __future__ import annotations

import heapq
import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tools.simulation.aws.calls import Service, operation, refuse_unknown
from tools.simulation.aws.errors import RejectedError, validation_error
from tools.simulation.aws.patterns import compile_pattern
from tools.simulation.aws.queue_names import ACCOUNT, REGION, get_queue_arn

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tools.simulation.aws.calls import Choices, Parameters, Response
    from tools.simulation.aws.patterns import Matcher
    from tools.simulation.aws.sqs import InMemorySqs

_MAX_ENTRIES = 10
# "the total entry size must be less than 1MB" (Amazon EventBridge API reference, PutEvents)
MAX_ENTRIES_BYTES = 1024 * 1024
# What the detail may have "for the JSON number (integer) data type" (same)
_MIN_INTEGER, _MAX_INTEGER = -(2**63), 2**63 - 1
_TIME_BYTES = 14
# EventBridge user guide, "How EventBridge retries delivering events"; the intervals are not documented.
_DEFAULT_MAX_RETRIES = 185
_DEFAULT_MAX_AGE_SECONDS = 24 * 3600
_MAX_BACKOFF_SECONDS = 60.0
_REQUIRED = ("Source", "DetailType", "Detail")


@dataclass(frozen=True)
class Target:
    """A queue that receives the events of a rule; both queues are given by name.

    `message_group` is the path of a field in the event, as in `$.detail.tenant`, or the group itself.
    """

    queue: str
    message_group: str | None = None
    dead_letter_queue: str | None = None
    max_retries: int = _DEFAULT_MAX_RETRIES
    max_age_seconds: float = _DEFAULT_MAX_AGE_SECONDS


@dataclass(frozen=True)
class _Rule:
    arn: str
    matches: Matcher
    targets: tuple[Target, ...]


@dataclass(eq=False, slots=True)
class PendingDelivery:
    """An event on its way to a target. `body` is the message; `attempts` counts failed attempts."""

    rule_arn: str
    target: Target
    body: str
    group: str | None
    accepted_at: float
    attempts: int = 0

    @property
    def queue(self) -> str:
        return self.target.queue


class InMemoryEventBridge(Service):
    """Buses and their rules by name.

    `is_refused` says whether a target refuses an attempt for a temporary reason. `on_pending` is called with
    the due time of each delivery and each retry. With a list as `archive`, what is delivered is archived.
    """

    name = "events"

    def __init__(self, now: Callable[[], float], choices: Callable[[], Choices], sqs: InMemorySqs) -> None:
        self.is_refused: Callable[[PendingDelivery], bool] = lambda _: False
        self.on_pending: Callable[[float], None] = lambda _: None
        self.dropped: list[PendingDelivery] = []
        self.archive: list[PendingDelivery] | None = None
        self._now = now
        self._choices = choices
        self._sqs = sqs
        self._buses: dict[str, list[_Rule]] = {}
        self._pending: list[tuple[float, int, PendingDelivery]] = []
        self._event_count = 0
        self._pending_count = 0

    def create_bus(self, name: str) -> None:
        self._buses[name] = []

    def create_rule(
        self, name: str, *, bus: str, pattern: Mapping[str, Any], targets: Sequence[Target]
    ) -> None:
        arn = f"arn:aws:events:{REGION}:{ACCOUNT}:rule/{bus}/{name}"
        self._buses[bus].append(_Rule(arn, compile_pattern(pattern), tuple(targets)))

    @property
    def pending(self) -> Sequence[PendingDelivery]:
        """The deliveries that are not finished, by due time."""
        return [delivery for _, _, delivery in sorted(self._pending)]

    def next_due(self) -> float | None:
        """Return when the next delivery is due, None if there is none."""
        return self._pending[0][0] if self._pending else None

    def deliver_due(self) -> int:
        """Attempt the deliveries that are due; return how many events reached a queue."""
        delivered = 0
        while self._pending and self._pending[0][0] <= self._now():
            _, _, delivery = heapq.heappop(self._pending)
            delivered += self._attempt(delivery)
        return delivered

    def replay(self, *, since: float, draw_delay: Callable[[], float]) -> None:
        """Deliver again what has been archived since that time, each event after a delay of its own.

        The events have the name of the replay in addition. They are not archived again (EventBridge user
        guide, "Archiving and replaying events").
        """
        now = self._now()
        for archived in self.archive or ():
            if archived.accepted_at >= since:
                body = f'{archived.body[:-1]}, "replay-name": "replay"}}'
                again = replace(archived, body=body, accepted_at=now, attempts=0)
                self._schedule(again, now + draw_delay())

    @operation("Entries", is_write=True)
    def put_events(self, parameters: Parameters) -> Response:
        entries: Sequence[Parameters] = parameters["Entries"]
        if not 1 <= len(entries) <= _MAX_ENTRIES:
            raise validation_error(
                "1 validation error detected: Value '[PutEventsRequestEntry]' at 'entries' failed to satisfy"
                f" constraint: Member must have length less than or equal to {_MAX_ENTRIES}"
            )
        for entry in entries:
            refuse_unknown(
                entry, "Detail", "DetailType", "EventBusName", "Source", "Time", place="PutEvents.Entries"
            )
        if sum(map(measure_message, entries)) >= MAX_ENTRIES_BYTES:
            raise validation_error("Total size of the entries in the request is over the limit.")
        results = [self._accept(entry) for entry in entries]
        return {
            "FailedEntryCount": sum("ErrorCode" in result for result in results),
            "Entries": results,
        }

    def _accept(self, entry: Parameters) -> Response:
        for name in _REQUIRED:
            if not entry.get(name):
                return {
                    "ErrorCode": "InvalidArgument",
                    "ErrorMessage": f"Parameter {name} is not valid. Reason: {name} is a required argument.",
                }
        try:
            detail = json.loads(entry["Detail"], parse_int=_parse_int)
        except ValueError:
            detail = None
        if not isinstance(detail, dict):
            return {"ErrorCode": "MalformedDetail", "ErrorMessage": "Detail is malformed."}
        self._event_count += 1
        event_id = f"{self._event_count:08x}-0000-4000-8000-000000000002"
        self._route(entry, event_id, detail)
        return {"EventId": event_id}

    def _route(self, entry: Parameters, event_id: str, detail: Mapping[str, Any]) -> None:
        bus = entry.get("EventBusName", "default").rpartition("/")[2]
        if bus not in self._buses:
            raise KeyError(f"there is no event bus {bus}, only {sorted(self._buses)}")
        now = self._now()
        sent_at = entry["Time"] if "Time" in entry else datetime.fromtimestamp(now, UTC)
        envelope = {
            "version": "0",
            "id": event_id,
            "detail-type": entry["DetailType"],
            "source": entry["Source"],
            "account": ACCOUNT,
            "time": f"{sent_at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
            "region": REGION,
            "resources": [],
        }
        event = {**envelope, "detail": detail}
        # The detail is inserted as text, which saves writing it again.
        body = f'{json.dumps(envelope)[:-1]}, "detail": {entry["Detail"]}}}'
        for rule in self._buses[bus]:
            if rule.matches(event):
                for target in rule.targets:
                    group = _read_group(target.message_group, event)
                    delivery = PendingDelivery(rule.arn, target, body, group, now)
                    if self.archive is not None:
                        self.archive.append(delivery)
                    self._add_pending(delivery)

    def _add_pending(self, first: PendingDelivery) -> None:
        """Add a delivery, and further ones if the event is delivered more than once."""
        target, now = first.target, first.accepted_at
        for _ in range(self._choices().bus_delivery(target.queue)):
            delivery = replace(first)
            self._schedule(delivery, now + self._choices().bus_delay(target.queue))

    def _schedule(self, delivery: PendingDelivery, due: float) -> None:
        self._pending_count += 1
        heapq.heappush(self._pending, (due, self._pending_count, delivery))
        self.on_pending(due)

    def _attempt(self, delivery: PendingDelivery) -> bool:
        if self.is_refused(delivery):
            self._retry(delivery)
            return False
        try:
            self._sqs.deliver(delivery.queue, delivery.body, group=delivery.group)
        except RejectedError as error:
            # Retrying cannot help where the queue is gone or the message too large.
            self._give_up(delivery, "SDK_CLIENT_ERROR", error.message, None)
            return False
        return True

    def _retry(self, delivery: PendingDelivery) -> None:
        delivery.attempts += 1
        due = self._now() + min(2.0**delivery.attempts, _MAX_BACKOFF_SECONDS)
        exhausted = None
        if delivery.attempts > delivery.target.max_retries:
            exhausted = "MaximumRetryAttempts"
        elif due - delivery.accepted_at > delivery.target.max_age_seconds:
            exhausted = "MaximumEventAgeInSeconds"
        if exhausted is None:
            self._schedule(delivery, due)
        else:
            self._give_up(delivery, "THROTTLING", "The target refused the event", exhausted)

    def _give_up(self, delivery: PendingDelivery, code: str, message: str, exhausted: str | None) -> None:
        """Send the event to the dead-letter queue; drop it if there is none or it cannot take the event.

        The attributes are those of the EventBridge user guide, "Using dead-letter queues to process
        undelivered events".
        """
        attributes = {
            "RULE_ARN": delivery.rule_arn,
            "TARGET_ARN": get_queue_arn(delivery.queue),
            "ERROR_CODE": code,
            "ERROR_MESSAGE": message,
            "RETRY_ATTEMPTS": str(max(delivery.attempts - 1, 0)),
        }
        if exhausted is not None:
            attributes["EXHAUSTED_RETRY_CONDITION"] = exhausted
        values = {name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()}
        queue = delivery.target.dead_letter_queue
        try:
            if queue is not None:
                self._sqs.deliver(queue, delivery.body, attributes=values)
                return
        except RejectedError:
            pass
        self.dropped.append(delivery)


def _parse_int(digits: str) -> int:
    """Return the number. Raises ValueError if EventBridge does not take it."""
    number = int(digits)
    if not _MIN_INTEGER <= number <= _MAX_INTEGER:
        raise ValueError("an integer is out of bounds")
    return number


def _read_group(group: str | None, event: Mapping[str, Any]) -> str | None:
    """Return the message group, whose path is that of a text (EventBridge API reference, SqsParameters)."""
    if group is None or not group.startswith("$."):
        return group
    value: Any = event
    for name in group.split(".")[1:]:
        value = value[name]
    return str(value)


def measure_message(entry: Parameters) -> int:
    """Return the size of an entry (EventBridge user guide, "Calculating PutEvents event entry size")."""
    size = _TIME_BYTES if "Time" in entry else 0
    return size + sum(len(entry.get(name, "").encode("utf-8", "surrogatepass")) for name in _REQUIRED)
