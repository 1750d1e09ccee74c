"""Dead-letter queues in SQS."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from replicate_proxy.aws.errors import translate_aws_errors
from replicate_proxy.operations.dead_letters import DeadLetter, QueueDepth

if TYPE_CHECKING:
    from types_boto3_sqs import SQSClient
    from types_boto3_sqs.type_defs import (
        ChangeMessageVisibilityBatchRequestEntryTypeDef,
        MessageTypeDef,
        SendMessageRequestTypeDef,
    )


# Long polling queries all servers of SQS, so that an empty response means an empty queue.
_LONG_POLLING_SECONDS = 1
_MAX_BATCH_SIZE = 10


class SqsQueueClient:
    """The QueueClient port."""

    def __init__(self, client: SQSClient) -> None:
        self._client = client

    def get_depth(self, url: str) -> QueueDepth:
        with translate_aws_errors("count messages"):
            attributes = self._client.get_queue_attributes(
                QueueUrl=url,
                AttributeNames=[
                    "ApproximateNumberOfMessages",
                    "ApproximateNumberOfMessagesNotVisible",
                    "ApproximateNumberOfMessagesDelayed",
                ],
            )["Attributes"]
        return QueueDepth(
            waiting=int(attributes["ApproximateNumberOfMessages"]),
            in_flight=int(attributes["ApproximateNumberOfMessagesNotVisible"]),
            delayed=int(attributes["ApproximateNumberOfMessagesDelayed"]),
        )

    def receive(
        self, url: str, *, limit: int, visibility_timeout_seconds: int, wait: bool = True
    ) -> list[DeadLetter]:
        with translate_aws_errors("receive messages"):
            response = self._client.receive_message(
                QueueUrl=url,
                MaxNumberOfMessages=limit,
                VisibilityTimeout=visibility_timeout_seconds,
                WaitTimeSeconds=_LONG_POLLING_SECONDS if wait else 0,
                MessageSystemAttributeNames=["All"],
                MessageAttributeNames=["All"],
            )
        return [_parse_message(message) for message in response.get("Messages", [])]

    def send(self, url: str, message: DeadLetter) -> None:
        request: SendMessageRequestTypeDef = {"QueueUrl": url, "MessageBody": message.body}
        if message.message_group:
            request["MessageGroupId"] = message.message_group
        with translate_aws_errors("send message"):
            self._client.send_message(**request)

    def delete(self, url: str, message: DeadLetter) -> None:
        with translate_aws_errors("delete message"):
            self._client.delete_message(QueueUrl=url, ReceiptHandle=message.receipt_handle)

    def release(self, url: str, messages: list[DeadLetter]) -> None:
        """Make messages visible again. One for which that fails becomes visible after its timeout."""
        for start in range(0, len(messages), _MAX_BATCH_SIZE):
            entries: list[ChangeMessageVisibilityBatchRequestEntryTypeDef] = [
                {"Id": str(index), "ReceiptHandle": message.receipt_handle, "VisibilityTimeout": 0}
                for index, message in enumerate(messages[start : start + _MAX_BATCH_SIZE])
            ]
            with translate_aws_errors("release messages"):
                self._client.change_message_visibility_batch(QueueUrl=url, Entries=entries)


def _parse_message(message: MessageTypeDef) -> DeadLetter:
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
