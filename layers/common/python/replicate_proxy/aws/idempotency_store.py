"""Idempotency keys in the jobs table, each held for a day by the table's time to live and by the record
itself.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from replicate_proxy.aws.dynamodb import from_item, to_item, to_value, translate_dynamodb_errors
from replicate_proxy.aws.job_records import idempotency_key
from replicate_proxy.errors import ConflictError, RetryableError
from replicate_proxy.ports import IdempotencyRecord

LIFETIME = timedelta(hours=24)


class DynamoIdempotencyStore:
    """The IdempotencyStore port. Time to live may delete late, so an expired record counts as absent."""

    def __init__(self, dynamodb: Any, table: str) -> None:
        self._dynamodb = dynamodb
        self._table = table

    def claim(self, record: IdempotencyRecord, *, now: datetime) -> IdempotencyRecord:
        item = {
            **idempotency_key(record.tenant, record.key),
            "fingerprint": record.fingerprint,
            "job_id": record.job_id,
            "expires_at": int((now + LIFETIME).timestamp()),
        }
        try:
            with translate_dynamodb_errors("claim idempotency key"):
                self._dynamodb.put_item(
                    TableName=self._table,
                    Item=to_item(item),
                    ConditionExpression="attribute_not_exists(pk) OR expires_at <= :now",
                    ExpressionAttributeValues={":now": to_value(int(now.timestamp()))},
                )
        except ConflictError:
            return self._holder(record)
        return record

    def _holder(self, record: IdempotencyRecord) -> IdempotencyRecord:
        with translate_dynamodb_errors("read idempotency key"):
            reply = self._dynamodb.get_item(
                TableName=self._table,
                Key=to_item(idempotency_key(record.tenant, record.key)),
                ConsistentRead=True,
            )
        if "Item" not in reply:
            raise RetryableError("the idempotency key expired in between", retry_after=1)
        held = from_item(reply["Item"])
        return IdempotencyRecord(
            tenant=record.tenant, key=record.key, fingerprint=held["fingerprint"], job_id=held["job_id"]
        )
