"""A control table on moto."""

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
    """A client that runs one operation at a time: moto's writes are not atomic between threads."""

    def __init__(self, dynamodb: Any) -> None:
        self._dynamodb = dynamodb
        self._lock = threading.Lock()

    def get_item(self, **request: Any) -> Any:
        with self._lock:
            return self._dynamodb.get_item(**request)

    def update_item(self, **request: Any) -> Any:
        with self._lock:
            return self._dynamodb.update_item(**request)
