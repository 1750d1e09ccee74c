"""Marks of running bulk operations in the jobs table, by which the sweep finds out if there are any.

| pk           | sk          | item                                                                  |
|--------------|-------------|-----------------------------------------------------------------------|
| BULK#RUNNING | <operation> | from before an operation is stored until after it has ended           |

Separate from `bulk_store`, whose imports the sweep does not need.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicate_proxy.aws.dynamodb import from_item, to_item, to_value, translate_dynamodb_errors

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

_RUNNING = "BULK#RUNNING"
# Operations with which one worker goes on.
MAX_RUNNING = 20


class BulkMarks:
    """The marks; what they say is at most an hour late."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._client = client
        self._table = table

    def add(self, operation_id: str, expires_at: int) -> None:
        with translate_dynamodb_errors("mark bulk operation"):
            item = {"pk": _RUNNING, "sk": operation_id, "expires_at": expires_at}
            self._client.put_item(TableName=self._table, Item=to_item(item))

    def remove(self, operation_id: str) -> None:
        with translate_dynamodb_errors("unmark bulk operation"):
            key = {"pk": _RUNNING, "sk": operation_id}
            self._client.delete_item(TableName=self._table, Key=to_item(key))

    def list_ids(self, limit: int = MAX_RUNNING) -> list[str]:
        """Return the IDs of operations that run or may do so, the oldest first."""
        with translate_dynamodb_errors("list running bulk operations"):
            response = self._client.query(
                TableName=self._table,
                KeyConditionExpression="pk = :pk",
                ExpressionAttributeValues={":pk": to_value(_RUNNING)},
                Limit=limit,
            )
        return [str(from_item(item)["sk"]) for item in response["Items"]]
