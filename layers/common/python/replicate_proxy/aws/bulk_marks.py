"""Marks of running operations in the jobs table, by which the sweep finds out if there are any.

| pk           | sk               | item                                                                  |
|--------------|------------------|-----------------------------------------------------------------------|
| BULK#RUNNING | <operation>      | from before a bulk operation is stored until after it has ended       |
| BULK#RUNNING | ERASURE#<tenant> | while an erasure goes on, with `due_at`                               |

Separate from `bulk_store` and `erasure_store`, whose imports the sweep does not need.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from replicate_proxy.aws.dynamodb import iterate_records, to_item, to_value, translate_dynamodb_errors
from replicate_proxy.clock import format_timestamp

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_dynamodb.type_defs import QueryInputTypeDef

_RUNNING = "BULK#RUNNING"
# IDs of operations begin with a digit, and so come before.
_ERASURE = "ERASURE#"


class BulkMarks:
    """The marks. What they say of bulk operations is at most an hour late."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._client = client
        self._table = table

    def add(self, operation_id: str, expires_at: int) -> None:
        self._put({"pk": _RUNNING, "sk": operation_id, "expires_at": expires_at})

    def remove(self, operation_id: str) -> None:
        self._delete(operation_id)

    def list_ids(self) -> list[str]:
        """Return the IDs of bulk operations that run or may do so, the oldest first."""
        return [str(record["sk"]) for record in self._iterate("sk < :name", _ERASURE)]

    def put_erasure(self, tenant: str, due_at: datetime) -> None:
        self._put(build_erasure_mark(tenant, due_at))

    def remove_erasure(self, tenant: str) -> None:
        self._delete(f"{_ERASURE}{tenant}")

    def list_due_erasures(self, now: datetime) -> list[str]:
        """Return the tenants of erasures that may be due."""
        records = self._iterate("begins_with(sk, :name)", _ERASURE)
        return [
            str(record["sk"]).removeprefix(_ERASURE)
            for record in records
            if str(record["due_at"]) <= format_timestamp(now)
        ]

    def has_work(self, now: datetime) -> bool:
        """Return whether a bulk operation runs, or may do so, or an erasure is due."""
        records = self._iterate("sk > :name", "0")
        return any(str(record.get("due_at", "")) <= format_timestamp(now) for record in records)

    def _iterate(self, condition: str, name: str) -> Iterator[dict[str, Any]]:
        request: QueryInputTypeDef = {
            "TableName": self._table,
            "KeyConditionExpression": f"pk = :pk AND {condition}",
            "ExpressionAttributeValues": {":pk": to_value(_RUNNING), ":name": to_value(name)},
        }
        return iterate_records(self._client, request, "list running operations")

    def _put(self, record: dict[str, Any]) -> None:
        with translate_dynamodb_errors("mark operation"):
            self._client.put_item(TableName=self._table, Item=to_item(record))

    def _delete(self, name: str) -> None:
        with translate_dynamodb_errors("unmark operation"):
            self._client.delete_item(TableName=self._table, Key=to_item({"pk": _RUNNING, "sk": name}))


def build_erasure_mark(tenant: str, due_at: datetime) -> dict[str, str]:
    """Return the mark of an erasure."""
    return {"pk": _RUNNING, "sk": f"{_ERASURE}{tenant}", "due_at": format_timestamp(due_at)}
