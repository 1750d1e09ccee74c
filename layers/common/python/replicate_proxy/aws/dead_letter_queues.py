"""SQS behind the admin API's queues."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from replicate_proxy.aws.errors import translate_aws_errors
from replicate_proxy.operations.dead_letters import DeadLetter, QueueDepth

if TYPE_CHECKING:
    from collections.abc import Mapping


_WAIT_SECONDS = 1  # long polling asks every server, so an empty answer means an empty queue


class SqsQueueClient:
    """Queues by boto3's `sqs` client."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def get_depth(self, url: str) -> QueueDepth:
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        with translate_aws_errors("count messages"):
            counts = self._client.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        return QueueDepth(waiting=int(counts[names[0]]), in_flight=int(counts[names[1]]))

    def receive(self, url: str, *, limit: int, visibility_timeout_seconds: int) -> list[DeadLetter]:
        with translate_aws_errors("receive messages"):
            reply = self._client.receive_message(
                QueueUrl=url,
                MaxNumberOfMessages=limit,
                VisibilityTimeout=visibility_timeout_seconds,
                WaitTimeSeconds=_WAIT_SECONDS,
                MessageSystemAttributeNames=["All"],
                MessageAttributeNames=["All"],
            )
        return [_letter(message) for message in reply.get("Messages", [])]

    def send(self, url: str, letter: DeadLetter) -> None:
        group = {"MessageGroupId": letter.message_group} if letter.message_group else {}
        with translate_aws_errors("send message back"):
            self._client.send_message(QueueUrl=url, MessageBody=letter.body, **group)

    def delete(self, url: str, letter: DeadLetter) -> None:
        with translate_aws_errors("delete message"):
            self._client.delete_message(QueueUrl=url, ReceiptHandle=letter.receipt_handle)

    def release(self, url: str, letters: list[DeadLetter]) -> None:
        """Makes them visible again; one that is not comes back by itself within a minute."""
        for start in range(0, len(letters), 10):
            entries = [
                {"Id": str(index), "ReceiptHandle": letter.receipt_handle, "VisibilityTimeout": 0}
                for index, letter in enumerate(letters[start : start + 10])
            ]
            with translate_aws_errors("release messages"):
                self._client.change_message_visibility_batch(QueueUrl=url, Entries=entries)


def _letter(message: Mapping[str, Any]) -> DeadLetter:
    system = message.get("Attributes", {})
    own = {name: value.get("StringValue") for name, value in message.get("MessageAttributes", {}).items()}
    return DeadLetter(
        id=message["MessageId"],
        receipt_handle=message["ReceiptHandle"],
        body=message["Body"],
        sent_at=datetime.fromtimestamp(int(system.get("SentTimestamp", 0)) / 1000, UTC),
        receive_count=int(system.get("ApproximateReceiveCount", 0)),
        message_group=system.get("MessageGroupId"),
        target_arn=own.get("TARGET_ARN"),
        error_message=own.get("ERROR_MESSAGE"),
    )
