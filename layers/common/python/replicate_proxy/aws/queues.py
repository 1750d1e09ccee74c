"""SQS behind the queue ports.

The harvest queue for further rounds: messages in the very form in which the bus's rule delivers them.

The notify queue in SQS.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from replicate_proxy.clock import format_timestamp
from replicate_proxy.errors import RetryableError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from replicate_proxy.contracts.commands import DispatchCommand
    from replicate_proxy.contracts.events import Event
    from replicate_proxy.webhooks.commands import DeliverCommand


# The longest DelaySeconds that SQS takes (Amazon SQS, message timers).
MAX_DELAY_SECONDS = 900


def send_message(sqs: Any, queue_url: str, body: str, *, group: str, delay_seconds: float = 0) -> None:
    """Sends one message. `group` makes a standard queue fair between tenants (Amazon SQS, fair queues)."""
    delay = min(max(math.ceil(delay_seconds), 0), MAX_DELAY_SECONDS)
    try:
        sqs.send_message(QueueUrl=queue_url, MessageBody=body, MessageGroupId=group, DelaySeconds=delay)
    except (ClientError, BotoCoreError) as error:
        raise RetryableError(f"send to queue: {type(error).__name__}") from error


class SqsCommandQueue:
    """The CommandQueue port on the dispatch queue."""

    def __init__(self, sqs: Any, queue_url: str) -> None:
        self._sqs = sqs
        self._queue_url = queue_url

    def send(self, command: DispatchCommand, *, delay_seconds: float = 0) -> None:
        send_message(
            self._sqs, self._queue_url, command.to_json(), group=command.tenant, delay_seconds=delay_seconds
        )


class SqsHarvestQueue:
    """The HarvestMessages port."""

    def __init__(self, sqs: Any, queue_url: str) -> None:
        self._sqs = sqs
        self._queue_url = queue_url

    def send(self, event: Event, *, tenant: str, delay_seconds: float = 0) -> None:
        entry = {
            "version": "0",
            "id": event.event_id,
            "detail-type": event.name.value,
            "source": event.source.value,
            "time": format_timestamp(event.created_at),
            "detail": json.loads(event.to_detail()),
        }
        send_message(self._sqs, self._queue_url, json.dumps(entry), group=tenant, delay_seconds=delay_seconds)


# SendMessageBatch takes ten messages (Amazon SQS, SendMessageBatch).
_ENTRIES = 10


class SqsDeliveryQueue:
    """The DeliveryQueue port. The message group is the receiver: the queue is fair between receivers."""

    def __init__(self, sqs: Any, queue_url: str) -> None:
        self._sqs = sqs
        self._queue_url = queue_url

    def send(self, commands: Sequence[DeliverCommand], *, delay_seconds: float = 0) -> None:
        seconds = min(max(math.ceil(delay_seconds), 0), MAX_DELAY_SECONDS)
        for start in range(0, len(commands), _ENTRIES):
            self._send(commands[start : start + _ENTRIES], seconds)

    def _send(self, commands: Sequence[DeliverCommand], seconds: int) -> None:
        entries = [
            {
                "Id": str(index),
                "MessageBody": command.to_json(),
                "MessageGroupId": _group(command),
                "DelaySeconds": seconds,
            }
            for index, command in enumerate(commands)
        ]
        try:
            reply = self._sqs.send_message_batch(QueueUrl=self._queue_url, Entries=entries)
        except (ClientError, BotoCoreError) as error:
            raise RetryableError(f"send deliveries: {type(error).__name__}") from error
        if reply.get("Failed"):
            codes = sorted({entry["Code"] for entry in reply["Failed"]})
            raise RetryableError(f"send deliveries: {len(reply['Failed'])} not taken ({', '.join(codes)})")


def _group(command: DeliverCommand) -> str:
    """At most 128 characters of letters, digits and punctuation (Amazon SQS, MessageGroupId)."""
    name = f"{command.tenant}/{command.receiver_id or command.target}"
    return "".join(char if char.isascii() and char.isprintable() and char != " " else "-" for char in name)[
        :128
    ]
