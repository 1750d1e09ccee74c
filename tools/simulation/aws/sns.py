"""The operations of SNS: published messages are recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tools.simulation.aws.calls import Service, operation, refuse_unknown
from tools.simulation.aws.errors import RejectedError
from tools.simulation.aws.queue_names import ACCOUNT, REGION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tools.simulation.aws.calls import Parameters, Response

# Body and attributes together (Amazon SNS API reference, Publish)
_MAX_MESSAGE_BYTES = 256 * 1024


class InMemorySns(Service):
    """Topics by ARN."""

    name = "sns"

    def __init__(self) -> None:
        self._messages: dict[str, list[Parameters]] = {}
        self._message_count = 0

    def create_topic(self, name: str) -> str:
        """Create a topic and return its ARN."""
        arn = f"arn:aws:sns:{REGION}:{ACCOUNT}:{name}"
        self._messages.setdefault(arn, [])
        return arn

    def messages(self, topic_arn: str) -> Sequence[Parameters]:
        """Return the parameters of all calls that published to the topic."""
        return self._messages[topic_arn]

    @operation("Message", "TopicArn", optional=("MessageAttributes",), is_write=True)
    def publish(self, parameters: Parameters) -> Response:
        messages = self._messages.get(parameters["TopicArn"])
        if messages is None:
            raise RejectedError("NotFound", "Topic does not exist", status=404)
        if measure_message(parameters) > _MAX_MESSAGE_BYTES:
            raise RejectedError("InvalidParameter", "Invalid parameter: Message too long")
        messages.append(parameters)
        self._message_count += 1
        return {"MessageId": f"{self._message_count:08x}-0000-4000-8000-000000000003"}


def measure_message(parameters: Parameters) -> int:
    size = len(parameters["Message"].encode("utf-8", "surrogatepass"))
    for name, value in parameters.get("MessageAttributes", {}).items():
        refuse_unknown(value, "DataType", "StringValue", place="MessageAttributes")
        size += sum(len(text.encode()) for text in (name, value["DataType"], value["StringValue"]))
    return size
