"""The optional SNS topic for consumers inside AWS."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from replicate_proxy.errors import RetryableError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["SnsTopic"]


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
