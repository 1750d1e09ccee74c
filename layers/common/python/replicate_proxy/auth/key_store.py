"""API keys in the access table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from replicate_proxy.auth.key_items import PARTITION, item_key, key_from_record, record_from_key
from replicate_proxy.clock import iso
from replicate_proxy.dynamo import from_item, to_item, to_value, translated
from replicate_proxy.errors import ConflictError, DuplicateError

if TYPE_CHECKING:
    from datetime import datetime

    from replicate_proxy.auth.keys import ApiKey

__all__ = ["DynamoKeyStore"]


class DynamoKeyStore:
    """KeyStore on DynamoDB. Reads are consistent: the next one after a revocation sees it."""

    def __init__(self, client: Any, table: str) -> None:
        self._client = client
        self._table = table

    def get(self, key_id: str) -> ApiKey | None:
        with translated("reading an API key"):
            found = self._client.get_item(
                TableName=self._table, Key=to_item(item_key(key_id)), ConsistentRead=True
            )
        return key_from_record(from_item(found["Item"])) if "Item" in found else None

    def touch(self, key_id: str, now: datetime) -> None:
        with translated("recording the use of an API key"):
            self._client.update_item(
                TableName=self._table,
                Key=to_item(item_key(key_id)),
                UpdateExpression="SET last_used_at = :now",
                ConditionExpression="attribute_exists(pk)",
                ExpressionAttributeValues={":now": to_value(iso(now))},
            )

    def create(self, key: ApiKey) -> None:
        try:
            with translated("creating an API key"):
                self._client.put_item(
                    TableName=self._table,
                    Item=to_item(record_from_key(key)),
                    ConditionExpression="attribute_not_exists(pk)",
                )
        except ConflictError as error:
            raise DuplicateError("this key id exists") from error

    def replace(self, key: ApiKey, *, digest: str) -> None:
        with translated("changing an API key"):
            self._client.put_item(
                TableName=self._table,
                Item=to_item(record_from_key(key)),
                ConditionExpression="digest = :digest AND attribute_not_exists(revoked_at)",
                ExpressionAttributeValues={":digest": to_value(digest)},
            )

    def list(self, *, tenant: str | None = None) -> list[ApiKey]:
        query: dict[str, Any] = {
            "TableName": self._table,
            "KeyConditionExpression": "pk = :pk",
            "ExpressionAttributeValues": {":pk": to_value(PARTITION)},
            "ConsistentRead": True,
        }
        if tenant is not None:
            query["FilterExpression"] = "tenant = :tenant"
            query["ExpressionAttributeValues"][":tenant"] = to_value(tenant)
        with translated("listing API keys"):
            pages = self._client.get_paginator("query").paginate(**query)
            keys = [key_from_record(from_item(item)) for page in pages for item in page["Items"]]
        return sorted(keys, key=lambda key: (key.created_at, key.id))
