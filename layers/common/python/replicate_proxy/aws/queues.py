"""Messages to the dispatch, harvest and deliver queues in SQS."""

from __future__ import annotations

import json
import math
from itertools import batched
from typing import TYPE_CHECKING
from zlib import crc32

from replicate_proxy.aws.errors import translate_aws_errors
from replicate_proxy.clock import format_timestamp
from replicate_proxy.contracts.commands import MAX_MESSAGE_DELAY_SECONDS
from replicate_proxy.errors import RetryableError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from types_boto3_sqs import SQSClient
    from types_boto3_sqs.type_defs import SendMessageBatchRequestEntryTypeDef

    from replicate_proxy.contracts.commands import DispatchCommand
    from replicate_proxy.contracts.events import Event
    from replicate_proxy.webhooks.commands import DeliverCommand


# Limits of SQS (Amazon SQS API reference, SendMessageBatch, SendMessage)
_MAX_BATCH_MESSAGES = 10
_MAX_BATCH_ATTEMPTS = 3
# A message group with a tenth of the messages in flight, or of the processing time, comes after the others
# (Amazon SQS developer guide, "How Amazon SQS fair queues work"). In few groups, the receivers of one tenant
# reach that together, however many it names.
_RECEIVER_GROUPS = 4


class SqsCommandQueue:
    """The CommandQueue port on the dispatch queue, fair between tenants.

    Commands about jobs of large batches go to `batch_queue_url`, if it is given.
    """

    def __init__(self, client: SQSClient, queue_url: str, batch_queue_url: str = "") -> None:
        self._client = client
        self._queue_url = queue_url
        self._batch_queue_url = batch_queue_url or queue_url

    def send(self, command: DispatchCommand, *, delay_seconds: float = 0) -> None:
        queue_url = self._batch_queue_url if command.is_batched else self._queue_url
        body = command.to_json()
        _send_message(self._client, queue_url, body, tenant=command.tenant, delay_seconds=delay_seconds)

    def send_all(self, commands: Sequence[DispatchCommand]) -> None:
        """Send the commands, ten at a time."""
        batched_commands = [command for command in commands if command.is_batched]
        others = [command for command in commands if not command.is_batched]
        for queue_url, some in ((self._queue_url, others), (self._batch_queue_url, batched_commands)):
            for batch in batched(some, _MAX_BATCH_MESSAGES, strict=False):
                entries: list[SendMessageBatchRequestEntryTypeDef] = [
                    {"Id": str(index), "MessageBody": command.to_json(), "MessageGroupId": command.tenant}
                    for index, command in enumerate(batch)
                ]
                _send_message_batch(self._client, queue_url, entries, "send commands")


class SqsHarvestQueue:
    """The HarvestQueue port: events in the form in which the event bus puts them on the queue."""

    def __init__(self, client: SQSClient, queue_url: str) -> None:
        self._client = client
        self._queue_url = queue_url

    def send(self, event: Event, *, tenant: str, delay_seconds: float = 0) -> None:
        envelope = {
            "version": "0",
            "id": event.event_id,
            "detail-type": event.name.value,
            "source": event.source.value,
            "time": format_timestamp(event.created_at),
            "detail": json.loads(event.to_detail()),
        }
        body = json.dumps(envelope)
        _send_message(self._client, self._queue_url, body, tenant=tenant, delay_seconds=delay_seconds)


class SqsDeliveryQueue:
    """The DeliveryQueue port, fair between tenants and between groups of a tenant's receivers."""

    def __init__(self, client: SQSClient, queue_url: str) -> None:
        self._client = client
        self._queue_url = queue_url

    def send(self, commands: Sequence[DeliverCommand], *, delay_seconds: float = 0) -> None:
        for start in range(0, len(commands), _MAX_BATCH_MESSAGES):
            self._send_batch(commands[start : start + _MAX_BATCH_MESSAGES], _limit_delay(delay_seconds))

    def _send_batch(self, commands: Sequence[DeliverCommand], delay_seconds: int) -> None:
        entries: list[SendMessageBatchRequestEntryTypeDef] = [
            {
                "Id": str(index),
                "MessageBody": command.to_json(),
                "MessageGroupId": _build_receiver_group(command),
                "DelaySeconds": delay_seconds,
            }
            for index, command in enumerate(commands)
        ]
        _send_message_batch(self._client, self._queue_url, entries, "send deliveries")


def _send_message(client: SQSClient, queue_url: str, body: str, *, tenant: str, delay_seconds: float) -> None:
    """Send one message. The message group makes a standard queue fair (Amazon SQS, "Fair queues")."""
    delay = _limit_delay(delay_seconds)
    with translate_aws_errors("send message"):
        client.send_message(QueueUrl=queue_url, MessageBody=body, MessageGroupId=tenant, DelaySeconds=delay)


def _send_message_batch(
    client: SQSClient,
    queue_url: str,
    entries: Sequence[SendMessageBatchRequestEntryTypeDef],
    operation: str,
) -> None:
    """Send the messages, those that were not accepted once more. Raises RetryableError if any is left."""
    codes: list[str] = []
    for _ in range(_MAX_BATCH_ATTEMPTS):
        with translate_aws_errors(operation):
            failed = client.send_message_batch(QueueUrl=queue_url, Entries=entries).get("Failed", [])
        if not failed:
            return
        failed_ids = {entry["Id"] for entry in failed}
        entries = [entry for entry in entries if entry["Id"] in failed_ids]
        codes = sorted({entry["Code"] for entry in failed})
    raise RetryableError(f"cannot {operation}: {len(entries)} failed ({', '.join(codes)})")


def _limit_delay(delay_seconds: float) -> int:
    return min(max(math.ceil(delay_seconds), 0), MAX_MESSAGE_DELAY_SECONDS)


def _build_receiver_group(command: DeliverCommand) -> str:
    """Return the message group ID: the tenant, and one of a few groups of its receivers."""
    receiver = command.receiver_id or command.target
    return f"{command.tenant}/{crc32(receiver.encode()) % _RECEIVER_GROUPS}"
