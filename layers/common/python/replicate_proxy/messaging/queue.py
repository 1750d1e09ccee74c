"""SQS behind the queue ports."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from replicate_proxy.errors import RetryableError

if TYPE_CHECKING:
    from replicate_proxy.contracts.commands import DispatchCommand

__all__ = ["LONGEST_DELAY_SECONDS", "SqsCommandQueue", "send"]

# The longest DelaySeconds that SQS takes (Amazon SQS, message timers).
LONGEST_DELAY_SECONDS = 900


def send(sqs: Any, queue_url: str, body: str, *, group: str, delay_seconds: float = 0) -> None:
    """Sends one message. `group` makes a standard queue fair between tenants (Amazon SQS, fair queues)."""
    delay = min(max(math.ceil(delay_seconds), 0), LONGEST_DELAY_SECONDS)
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
        send(self._sqs, self._queue_url, command.to_json(), group=command.tenant, delay_seconds=delay_seconds)
