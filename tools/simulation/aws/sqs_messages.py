"""Received messages of SQS as responses show them."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tools.simulation.aws.calls import Parameters, Response
    from tools.simulation.aws.queue import Message

_SYSTEM_ATTRIBUTES = (
    "ApproximateFirstReceiveTimestamp",
    "ApproximateReceiveCount",
    "DeadLetterQueueSourceArn",
    "MessageGroupId",
    "SenderId",
    "SentTimestamp",
)


@lru_cache(maxsize=256)
def calculate_md5(body: str) -> str:
    return hashlib.md5(body.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()


def describe_received(message: Message, parameters: Parameters) -> Response:
    received: Response = {
        "MessageId": message.id,
        "ReceiptHandle": message.receipt,
        "MD5OfBody": calculate_md5(message.body),
        "Body": message.body,
    }
    names = (*parameters.get("AttributeNames", ()), *parameters.get("MessageSystemAttributeNames", ()))
    if names:
        attributes = system_attributes(message)
        if "All" not in names:
            unknown = [name for name in names if name not in _SYSTEM_ATTRIBUTES]
            if unknown:
                raise NotImplementedError(
                    f"the in-memory SQS does not handle the message attributes {unknown}"
                )
            attributes = {name: attributes[name] for name in names if name in attributes}
        received["Attributes"] = attributes
    wanted = parameters.get("MessageAttributeNames", ())
    if wanted and message.attributes:
        if set(wanted) - {"All"}:
            raise NotImplementedError(
                f"the in-memory SQS handles MessageAttributeNames=['All'] only, not {wanted}"
            )
        received["MessageAttributes"] = dict(message.attributes)
    return received


def system_attributes(message: Message) -> dict[str, str]:
    """Return the system attributes of a received message, as Lambda passes them to a function, too."""
    attributes = {
        "ApproximateFirstReceiveTimestamp": str(int((message.first_received_at or 0) * 1000)),
        "ApproximateReceiveCount": str(message.receive_count),
        "SenderId": "AIDASIMULATION",
        "SentTimestamp": str(int(message.sent_at * 1000)),
    }
    if message.group is not None:
        attributes["MessageGroupId"] = message.group
    if message.dead_letter_source is not None:
        attributes["DeadLetterQueueSourceArn"] = message.dead_letter_source
    return attributes
