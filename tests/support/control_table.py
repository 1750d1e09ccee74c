"""A control table on moto, and a clock that tests set."""

from __future__ import annotations

import threading
from typing import Any

TABLE = "control"


def create_control_table(dynamodb: Any) -> None:
    dynamodb.create_table(
        TableName=TABLE,
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )


class SerializedDynamoDb:
    """moto's client, one operation at a time: DynamoDB's writes are atomic, moto's among threads are not."""

    def __init__(self, dynamodb: Any) -> None:
        self._dynamodb = dynamodb
        self._lock = threading.Lock()

    def get_item(self, **request: Any) -> Any:
        with self._lock:
            return self._dynamodb.get_item(**request)

    def update_item(self, **request: Any) -> Any:
        with self._lock:
            return self._dynamodb.update_item(**request)
