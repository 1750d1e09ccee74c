"""Events to EventBridge, and to the optional SNS topic of an application inside AWS."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicate_proxy.aws.errors import translate_aws_errors
from replicate_proxy.errors import RetryableError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from types_boto3_events import EventBridgeClient
    from types_boto3_events.type_defs import PutEventsRequestEntryTypeDef
    from types_boto3_sns import SNSClient
    from types_boto3_sns.type_defs import MessageAttributeValueTypeDef

    from replicate_proxy.contracts.events import Event


# PutEvents takes at most ten entries (Amazon EventBridge API reference).
_MAX_ENTRIES = 10


class EventBridgeBus:
    """The EventBus port on the service's bus."""

    def __init__(self, client: EventBridgeClient, bus_name: str) -> None:
        self._client = client
        self._bus_name = bus_name

    def publish(self, events: Sequence[Event]) -> None:
        entries: list[PutEventsRequestEntryTypeDef] = [
            {
                "EventBusName": self._bus_name,
                "Source": event.source.value,
                "DetailType": event.name.value,
                "Time": event.created_at,
                "Detail": event.to_detail(),
            }
            for event in events
        ]
        for start in range(0, len(entries), _MAX_ENTRIES):
            self._put(entries[start : start + _MAX_ENTRIES])

    def _put(self, entries: Sequence[PutEventsRequestEntryTypeDef]) -> None:
        with translate_aws_errors("publish events"):
            response = self._client.put_events(Entries=entries)
        if failed_count := response.get("FailedEntryCount"):
            codes = sorted({entry["ErrorCode"] for entry in response["Entries"] if "ErrorCode" in entry})
            raise RetryableError(f"cannot publish events: {failed_count} failed ({', '.join(codes)})")


class SnsTopic:
    """The Topic port; subscriptions can filter by the attributes."""

    def __init__(self, client: SNSClient, arn: str) -> None:
        self._client = client
        self._arn = arn

    def publish(self, message: str, *, attributes: Mapping[str, str]) -> None:
        message_attributes: dict[str, MessageAttributeValueTypeDef] = {
            name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()
        }
        with translate_aws_errors("publish to topic"):
            self._client.publish(TopicArn=self._arn, Message=message, MessageAttributes=message_attributes)
