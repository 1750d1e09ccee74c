"""Idempotency keys in the jobs table."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from replicate_proxy.aws.dynamodb import get_record, to_item, to_value, translate_dynamodb_errors
from replicate_proxy.aws.job_records import idempotency_key
from replicate_proxy.errors import ConflictError, RetryableError
from replicate_proxy.ids import hash_idempotency_key
from replicate_proxy.ports import IdempotencyRecord

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient


_LIFETIME = timedelta(hours=24)


class DynamoIdempotencyStore:
    """The IdempotencyStore port.

    An expired record counts as absent, because DynamoDB's time to live deletes it up to days later.
    """

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._client = client
        self._table = table

    def claim(self, record: IdempotencyRecord, *, now: datetime) -> IdempotencyRecord:
        item = {
            **idempotency_key(record.tenant, hash_idempotency_key(record.key)),
            "fingerprint": record.fingerprint,
            "reserved_id": record.reserved_id,
            "expires_at": int((now + _LIFETIME).timestamp()),
        }
        try:
            with translate_dynamodb_errors("claim idempotency key"):
                self._client.put_item(
                    TableName=self._table,
                    Item=to_item(item),
                    ConditionExpression="attribute_not_exists(pk) OR expires_at <= :now",
                    ExpressionAttributeValues={":now": to_value(int(now.timestamp()))},
                )
        except ConflictError as error:
            holder = self.find(record.tenant, record.key, now=now)
            if holder is None:
                raise RetryableError(
                    "the idempotency key expired during the request", retry_after=1
                ) from error
            return holder
        return record

    def find(self, tenant: str, key: str, *, now: datetime) -> IdempotencyRecord | None:
        row_key = idempotency_key(tenant, hash_idempotency_key(key))
        holder = get_record(self._client, self._table, row_key, "read idempotency key")
        if not holder or holder["expires_at"] <= int(now.timestamp()):
            return None
        return IdempotencyRecord(
            tenant=tenant, key=key, fingerprint=holder["fingerprint"], reserved_id=holder["reserved_id"]
        )
