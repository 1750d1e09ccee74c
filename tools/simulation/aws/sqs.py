"""The operations of SQS on standard queues."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tools.simulation.aws.calls import Service, operation
from tools.simulation.aws.errors import RejectedError
from tools.simulation.aws.queue import MAX_IN_FLIGHT, Message, Queue, QueueSettings, choose_fairly
from tools.simulation.aws.queue_names import URL_PREFIX, get_queue_arn, get_queue_url
from tools.simulation.aws.sqs_messages import calculate_md5, describe_received
from tools.simulation.aws.sqs_validation import (
    MAX_BATCH,
    MAX_MESSAGE_BYTES,
    build_invalid_parameter,
    check_batch,
    check_message,
    check_range,
    measure_message,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tools.simulation.aws.calls import Choices, Parameters, Response
    from tools.simulation.aws.queue import DeliveryOrder

# Amazon SQS API reference, ReceiveMessage and ChangeMessageVisibility
_MAX_VISIBILITY_SECONDS = 12 * 3600
_MAX_WAIT_SECONDS = 20
_SEND_OPTIONS = ("DelaySeconds", "MessageAttributes", "MessageGroupId")
_NO_ATTRIBUTES: Mapping[str, Mapping[str, Any]] = {}


class InMemorySqs(Service):
    """Standard queues by name. `delivery_order` chooses the messages that are received.

    `on_receive(queue, message)` is called before each of them is.
    """

    name = "sqs"

    def __init__(self, now: Callable[[], float], choices: Callable[[], Choices]) -> None:
        self.delivery_order: DeliveryOrder = choose_fairly
        self.on_receive: Callable[[str, Message], None] = lambda _queue, _message: None
        self._now = now
        self._choices = choices
        self._queues: dict[str, Queue] = {}
        self._receipts: dict[str, dict[str, Message]] = {}
        self._message_count = 0
        self._receipt_count = 0

    def create_queue(
        self,
        name: str,
        *,
        visibility_seconds: int = 30,
        delay_seconds: int = 0,
        retention_seconds: int = 4 * 24 * 3600,
        dead_letter_queue: str | None = None,
        max_receive_count: int = 0,
    ) -> str:
        """Create a queue and return its URL; `dead_letter_queue` is a name."""
        settings = QueueSettings(
            name, visibility_seconds, delay_seconds, retention_seconds, dead_letter_queue, max_receive_count
        )
        self._queues[name] = Queue(settings)
        self._receipts[name] = {}
        return get_queue_url(name)

    @property
    def queues(self) -> Mapping[str, Queue]:
        """The queues by name, at the current time."""
        now = self._now()
        for queue in self._queues.values():
            queue.advance(now)
        return self._queues

    def get_queue(self, name: str) -> Queue:
        """Return a queue at the current time."""
        queue = self._queues[name]
        queue.advance(self._now())
        return queue

    def next_due(self, queue: str | None = None) -> float | None:
        """Return when the next hidden message, of one queue or all, becomes visible; None if none is."""
        queues = self._queues.values() if queue is None else [self._queues[queue]]
        times = [due for found in queues if (due := found.next_due()) is not None]
        return min(times, default=None)

    def deliver(
        self,
        queue: str,
        body: str,
        *,
        group: str | None = None,
        attributes: Mapping[str, Mapping[str, Any]] = _NO_ATTRIBUTES,
    ) -> None:
        """Add one message that another service sends to a queue, without passing the gate.

        Raises RejectedError if SQS rejects it.
        """
        entry: dict[str, Any] = {"MessageBody": body, "MessageAttributes": attributes}
        if group is not None:
            entry["MessageGroupId"] = group
        self._send(self._get_queue({"QueueUrl": get_queue_url(queue)}), entry, copies=1)

    @operation("QueueUrl", "MessageBody", optional=_SEND_OPTIONS, is_write=True)
    def send_message(self, parameters: Parameters) -> Response:
        return self._send(self._get_queue(parameters), parameters)

    @operation("QueueUrl", "Entries", is_write=True)
    def send_message_batch(self, parameters: Parameters) -> Response:
        queue = self._get_queue(parameters)
        entries: Sequence[Parameters] = parameters["Entries"]
        check_batch(entries, "Id", "MessageBody", *_SEND_OPTIONS)
        if sum(measure_message(entry) for entry in entries) > MAX_MESSAGE_BYTES:
            raise RejectedError(
                "AWS.SimpleQueueService.BatchRequestTooLong",
                f"Batch requests cannot be longer than {MAX_MESSAGE_BYTES} bytes.",
            )
        return _perform_batch(entries, lambda entry: self._send(queue, entry))

    @operation(
        "QueueUrl",
        optional=(
            "AttributeNames",
            "MaxNumberOfMessages",
            "MessageAttributeNames",
            "MessageSystemAttributeNames",
            "VisibilityTimeout",
            "WaitTimeSeconds",
        ),
        is_write=True,
    )
    def receive_message(self, parameters: Parameters) -> Response:
        """Return messages at once: the scheduler of the simulation does the waiting of a long poll."""
        queue = self._get_queue(parameters)
        count = parameters.get("MaxNumberOfMessages", 1)
        check_range("MaxNumberOfMessages", count, 1, MAX_BATCH)
        check_range("WaitTimeSeconds", parameters.get("WaitTimeSeconds", 0), 0, _MAX_WAIT_SECONDS)
        visibility = parameters.get("VisibilityTimeout", queue.settings.visibility_seconds)
        check_range("VisibilityTimeout", visibility, 0, _MAX_VISIBILITY_SECONDS)
        if queue.in_flight_count >= MAX_IN_FLIGHT:
            raise RejectedError("OverLimit", "Too many messages in flight", status=403)
        messages: list[Message] = []
        while len(messages) < count and queue.visible_count:
            message = self.delivery_order(queue, self._now())
            if self._is_expired(queue, message) or self._is_dead(queue, message):
                self._move_out(queue, message)
                continue
            messages.append(message)
            self.on_receive(queue.name, message)
            # Hidden for now, so that the message is not chosen twice
            self._receive(queue, message, max(visibility, 1))
        if visibility == 0:
            for message in messages:
                queue.change_visibility(message, self._now(), 0)
        received = [describe_received(message, parameters) for message in messages]
        return {"Messages": received} if received else {}

    @operation("QueueUrl", "ReceiptHandle", is_write=True)
    def delete_message(self, parameters: Parameters) -> Response:
        self._delete(self._get_queue(parameters), parameters)
        return {}

    @operation("QueueUrl", "Entries", is_write=True)
    def delete_message_batch(self, parameters: Parameters) -> Response:
        queue = self._get_queue(parameters)
        check_batch(parameters["Entries"], "Id", "ReceiptHandle")
        return _perform_batch(parameters["Entries"], lambda entry: self._delete(queue, entry))

    @operation("QueueUrl", "ReceiptHandle", "VisibilityTimeout", is_write=True)
    def change_message_visibility(self, parameters: Parameters) -> Response:
        self._change_visibility(self._get_queue(parameters), parameters)
        return {}

    @operation("QueueUrl", "Entries", is_write=True)
    def change_message_visibility_batch(self, parameters: Parameters) -> Response:
        queue = self._get_queue(parameters)
        check_batch(parameters["Entries"], "Id", "ReceiptHandle", "VisibilityTimeout")
        return _perform_batch(parameters["Entries"], lambda entry: self._change_visibility(queue, entry))

    @operation("QueueUrl", optional=("AttributeNames",))
    def get_queue_attributes(self, parameters: Parameters) -> Response:
        queue = self._get_queue(parameters)
        settings = queue.settings
        attributes = {
            "ApproximateNumberOfMessages": str(queue.visible_count),
            "ApproximateNumberOfMessagesDelayed": str(queue.delayed_count),
            "ApproximateNumberOfMessagesNotVisible": str(queue.in_flight_count),
            "DelaySeconds": str(settings.delay_seconds),
            "MaximumMessageSize": str(MAX_MESSAGE_BYTES),
            "MessageRetentionPeriod": str(settings.retention_seconds),
            "QueueArn": get_queue_arn(settings.name),
            "VisibilityTimeout": str(settings.visibility_seconds),
        }
        if settings.dead_letter_queue is not None:
            policy = {
                "deadLetterTargetArn": get_queue_arn(settings.dead_letter_queue),
                "maxReceiveCount": settings.max_receive_count,
            }
            attributes["RedrivePolicy"] = json.dumps(policy, separators=(",", ":"))
        names = parameters.get("AttributeNames", ())
        if "All" in names:
            return {"Attributes": attributes}
        unknown = [name for name in names if name not in attributes and name != "RedrivePolicy"]
        if unknown:
            raise NotImplementedError(f"the in-memory SQS does not handle the queue attributes {unknown}")
        selected = {name: attributes[name] for name in names if name in attributes}
        return {"Attributes": selected} if selected else {}

    def _get_queue(self, parameters: Parameters) -> Queue:
        name = str(parameters["QueueUrl"]).removeprefix(URL_PREFIX)
        queue = self._queues.get(name)
        if queue is None:
            raise RejectedError(
                "AWS.SimpleQueueService.NonExistentQueue", "The specified queue does not exist."
            )
        queue.advance(self._now())
        return queue

    def _send(self, queue: Queue, entry: Parameters, copies: int | None = None) -> Response:
        body = entry["MessageBody"]
        check_message(entry)
        if measure_message(entry) > MAX_MESSAGE_BYTES:
            raise build_invalid_parameter(
                "One or more parameters are invalid. Reason: Message must be shorter than"
                f" {MAX_MESSAGE_BYTES} bytes."
            )
        delay = entry.get("DelaySeconds", queue.settings.delay_seconds)
        self._message_count += 1
        message_id = f"{self._message_count:08x}-0000-4000-8000-000000000001"
        now = self._now()
        if copies is None:
            copies = self._choices().queue_delivery(queue.name)
        for copy in range(copies):
            self._message_count += bool(copy)
            message = Message(
                number=self._message_count,
                id=message_id,
                body=body,
                sent_at=now,
                group=entry.get("MessageGroupId"),
                attributes=entry.get("MessageAttributes", {}),
            )
            queue.add(message, now + delay, now)
        return {"MessageId": message_id, "MD5OfMessageBody": calculate_md5(body)}

    def _receive(self, queue: Queue, message: Message, visibility_seconds: float) -> None:
        receipts = self._receipts[queue.name]
        if message.receipt is not None:
            receipts.pop(message.receipt, None)
        self._receipt_count += 1
        receipt = f"receipt-{queue.name}-{message.number}-{self._receipt_count}"
        receipts[receipt] = message
        queue.receive(message, receipt, self._now(), visibility_seconds)

    def _is_expired(self, queue: Queue, message: Message) -> bool:
        return self._now() - message.sent_at >= queue.settings.retention_seconds

    def _is_dead(self, queue: Queue, message: Message) -> bool:
        settings = queue.settings
        return settings.dead_letter_queue is not None and message.receive_count >= settings.max_receive_count

    def _move_out(self, queue: Queue, message: Message) -> None:
        """Move a message to the dead-letter queue, unless it has expired.

        It keeps its ID, attributes and the time at which it was sent (Amazon SQS developer guide, "Using
        dead-letter queues").
        """
        self._remove(queue, message)
        target = queue.settings.dead_letter_queue
        if target is None or self._is_expired(queue, message):
            return
        message.dead_letter_source = get_queue_arn(queue.name)
        message.receipt = None
        now = self._now()
        self._queues[target].advance(now)
        self._queues[target].add(message, now, now)

    def _remove(self, queue: Queue, message: Message) -> None:
        if message.receipt is not None:
            self._receipts[queue.name].pop(message.receipt, None)
        queue.remove(message, self._now())

    def _find(self, queue: Queue, entry: Parameters) -> Message | None:
        """Return the message of a receipt handle, None if the handle is not that of its last receive."""
        handle = entry["ReceiptHandle"]
        if not str(handle).startswith("receipt-"):
            raise RejectedError("ReceiptHandleIsInvalid", "The input receipt handle is invalid.")
        return self._receipts[queue.name].get(handle)

    def _delete(self, queue: Queue, entry: Parameters) -> Response:
        message = self._find(queue, entry)
        # With an old handle the request succeeds without deleting (API reference, DeleteMessage).
        if message is not None:
            self._remove(queue, message)
        return {}

    def _change_visibility(self, queue: Queue, entry: Parameters) -> Response:
        check_range("VisibilityTimeout", entry["VisibilityTimeout"], 0, _MAX_VISIBILITY_SECONDS)
        message = self._find(queue, entry)
        if message is None:
            raise build_invalid_parameter(
                f"Value {entry['ReceiptHandle']} for parameter ReceiptHandle is invalid. Reason:"
                " Message does not"
                " exist or is not available for visibility timeout change."
            )
        if not queue.is_in_flight(message):
            raise RejectedError(
                "AWS.SimpleQueueService.MessageNotInflight", "The message referred to isn't in flight."
            )
        queue.change_visibility(message, self._now(), entry["VisibilityTimeout"])
        return {}


def _perform_batch(entries: Sequence[Parameters], perform: Callable[[Parameters], Response]) -> Response:
    """Perform each entry by itself; errors of the sender become `Failed` entries."""
    successful: list[Response] = []
    failed: list[Response] = []
    for entry in entries:
        try:
            successful.append({"Id": entry["Id"], **perform(entry)})
        except RejectedError as error:
            code = error.code.rpartition(".")[2]
            failed.append({"Id": entry["Id"], "Code": code, "Message": error.message, "SenderFault": True})
    response: dict[str, Any] = {"Successful": successful} if successful else {}
    if failed:
        response["Failed"] = failed
    return response
