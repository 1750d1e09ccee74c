"""A control table whose writes are atomic between threads, unlike moto's."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, cast

from replicate_proxy.aws.control_table import ControlTable
from tests.support.aws import CONTROL_TABLE

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient


def build_control_table(dynamodb: DynamoDBClient) -> ControlTable:
    """Return a control table that runs one operation at a time."""
    return ControlTable(cast(Any, _SerializedDynamoDb(dynamodb)), CONTROL_TABLE)


class _SerializedDynamoDb:
    def __init__(self, dynamodb: DynamoDBClient) -> None:
        self._dynamodb = dynamodb
        self._lock = threading.Lock()

    def get_item(self, **request: Any) -> Any:
        with self._lock:
            return self._dynamodb.get_item(**request)

    def update_item(self, **request: Any) -> Any:
        with self._lock:
            return self._dynamodb.update_item(**request)
