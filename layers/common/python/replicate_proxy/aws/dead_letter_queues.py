"""Dead-letter queues in SQS."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from replicate_proxy.aws.errors import translate_aws_errors
from replicate_proxy.operations.dead_letters import DeadLetter, QueueDepth

if TYPE_CHECKING:
    from collections.abc import Mapping


# Long polling queries all servers of SQS, so that an empty response means an empty queue.
_LONG_POLLING_SECONDS = 1
_MAX_BATCH_SIZE = 10


class SqsQueueClient:
    """The QueueClient port on boto3's `sqs` client."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def get_depth(self, url: str) -> QueueDepth:
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        with translate_aws_errors("count messages"):
            attributes = self._client.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        return QueueDepth(waiting=int(attributes[names[0]]), in_flight=int(attributes[names[1]]))

    def receive(self, url: str, *, limit: int, visibility_timeout_seconds: int) -> list[DeadLetter]:
        with translate_aws_errors("receive messages"):
            response = self._client.receive_message(
                QueueUrl=url,
                MaxNumberOfMessages=limit,
                VisibilityTimeout=visibility_timeout_seconds,
                WaitTimeSeconds=_LONG_POLLING_SECONDS,
                MessageSystemAttributeNames=["All"],
                MessageAttributeNames=["All"],
            )
        return [_parse_message(message) for message in response.get("Messages", [])]

    def send(self, url: str, message: DeadLetter) -> None:
        group = {"MessageGroupId": message.message_group} if message.message_group else {}
        with translate_aws_errors("send message"):
            self._client.send_message(QueueUrl=url, MessageBody=message.body, **group)

    def delete(self, url: str, message: DeadLetter) -> None:
        with translate_aws_errors("delete message"):
            self._client.delete_message(QueueUrl=url, ReceiptHandle=message.receipt_handle)

    def release(self, url: str, messages: list[DeadLetter]) -> None:
        """Make messages visible again. One for which that fails becomes visible after its timeout."""
        for start in range(0, len(messages), _MAX_BATCH_SIZE):
            entries = [
                {"Id": str(index), "ReceiptHandle": message.receipt_handle, "VisibilityTimeout": 0}
                for index, message in enumerate(messages[start : start + _MAX_BATCH_SIZE])
            ]
            with translate_aws_errors("release messages"):
                self._client.change_message_visibility_batch(QueueUrl=url, Entries=entries)


def _parse_message(message: Mapping[str, Any]) -> DeadLetter:
    system_attributes = message.get("Attributes", {})
    attributes = {
        name: value.get("StringValue") for name, value in message.get("MessageAttributes", {}).items()
    }
    return DeadLetter(
        id=message["MessageId"],
        receipt_handle=message["ReceiptHandle"],
        body=message["Body"],
        sent_at=datetime.fromtimestamp(int(system_attributes.get("SentTimestamp", 0)) / 1000, UTC),
        receive_count=int(system_attributes.get("ApproximateReceiveCount", 0)),
        message_group=system_attributes.get("MessageGroupId"),
        target_arn=attributes.get("TARGET_ARN"),
        error_message=attributes.get("ERROR_MESSAGE"),
    )
