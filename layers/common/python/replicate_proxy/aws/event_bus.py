"""EventBridge behind the EventBus port: entries in tens, and no failed entry overlooked.

The optional SNS topic for consumers inside AWS.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from replicate_proxy.errors import RetryableError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from replicate_proxy.contracts.events import Event


# PutEvents takes ten entries at a time (Amazon EventBridge, PutEvents).
_ENTRIES = 10


class EventBridgeBus:
    """Publishes to the service's own bus."""

    def __init__(self, events: Any, bus_name: str) -> None:
        self._events = events
        self._bus_name = bus_name

    def publish(self, events: Sequence[Event]) -> None:
        entries = [
            {
                "EventBusName": self._bus_name,
                "Source": event.source.value,
                "DetailType": event.name.value,
                "Time": event.created_at,
                "Detail": event.to_detail(),
            }
            for event in events
        ]
        for start in range(0, len(entries), _ENTRIES):
            self._put(entries[start : start + _ENTRIES])

    def _put(self, entries: Sequence[dict[str, Any]]) -> None:
        try:
            reply = self._events.put_events(Entries=list(entries))
        except (ClientError, BotoCoreError) as error:
            raise RetryableError(f"publish events: {type(error).__name__}") from error
        if reply.get("FailedEntryCount"):
            codes = sorted({entry["ErrorCode"] for entry in reply["Entries"] if "ErrorCode" in entry})
            raise RetryableError(
                f"publish events: {reply['FailedEntryCount']} not taken ({', '.join(codes)})"
            )


class SnsTopic:
    """The Topic port; attributes are what subscription filters look at."""

    def __init__(self, sns: Any, arn: str) -> None:
        self._sns = sns
        self._arn = arn

    def publish(self, message: str, *, attributes: Mapping[str, str]) -> None:
        typed = {name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()}
        try:
            self._sns.publish(TopicArn=self._arn, Message=message, MessageAttributes=typed)
        except (ClientError, BotoCoreError) as error:
            raise RetryableError(f"publish to topic: {type(error).__name__}") from error
