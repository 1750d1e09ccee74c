"""The notify queue in SQS."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from replicate_proxy.errors import RetryableError
from replicate_proxy.messaging.queue import LONGEST_DELAY_SECONDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from replicate_proxy.notifications.commands import DeliverCommand

__all__ = ["SqsDeliveryQueue"]

# SendMessageBatch takes ten messages (Amazon SQS, SendMessageBatch).
_ENTRIES = 10


class SqsDeliveryQueue:
    """The DeliveryQueue port. The message group is the receiver: the queue is fair between receivers."""

    def __init__(self, sqs: Any, queue_url: str) -> None:
        self._sqs = sqs
        self._queue_url = queue_url

    def send(self, commands: Sequence[DeliverCommand], *, delay: float = 0) -> None:
        seconds = min(max(math.ceil(delay), 0), LONGEST_DELAY_SECONDS)
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
    name = f"{command.tenant}/{command.lane or command.target}"
    return "".join(char if char.isascii() and char.isprintable() and char != " " else "-" for char in name)[
        :128
    ]
