"""The outbox in DynamoDB: events, deliveries and attempts, with conditional writes only."""

from __future__ import annotations

import base64
import binascii
import json
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from replicate_proxy.aws import delivery_records
from replicate_proxy.aws.dynamodb import (
    batch_get_records,
    from_item,
    to_item,
    to_value,
    translate_dynamodb_errors,
)
from replicate_proxy.clock import format_timestamp, parse_timestamp
from replicate_proxy.errors import ApiError, ConflictError
from replicate_proxy.webhooks.commands import DeliverCommand
from replicate_proxy.webhooks.ports import AttemptPage, DeliveryPage, DueDelivery

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from replicate_proxy.webhooks.model import Attempt, Delivery, StoredEvent


class DynamoOutbox:
    """The Outbox port on the deliveries table."""

    def __init__(self, dynamodb: Any, table: str, *, due_shards: int) -> None:
        self._dynamodb = dynamodb
        self._table = table
        self._due_shards = due_shards

    def record_event(self, event: StoredEvent) -> None:
        self._put_new(delivery_records.event_record(event), "record event")

    def event(self, tenant: str, job_id: str, sequence: int) -> StoredEvent | None:
        record = self._get(delivery_records.event_key(tenant, job_id, sequence), "read event")
        return delivery_records.event_of(record) if record else None

    def record(self, delivery: Delivery) -> bool:
        return self._put_new(self._record_of(delivery), "record delivery")

    def get(self, tenant: str, job_id: str, sequence: int, target: str) -> Delivery | None:
        record = self._get(delivery_records.delivery_key(tenant, job_id, sequence, target), "read delivery")
        return delivery_records.delivery_of(record) if record else None

    def line(self, tenant: str, job_id: str, target: str, *, up_to: int, limit: int) -> Sequence[Delivery]:
        low = delivery_records.delivery_prefix(target)
        high = delivery_records.delivery_key(tenant, job_id, up_to, target)["sk"]
        page = self._range(
            delivery_records.job_pk(tenant, job_id), low, high, ScanIndexForward=False, Limit=limit
        )
        return [delivery_records.delivery_of(record) for record in page]

    def following(self, delivery: Delivery) -> Delivery | None:
        tenant, job_id, target = delivery.tenant, delivery.job_id, delivery.target
        low = delivery_records.delivery_key(tenant, job_id, delivery.sequence + 1, target)["sk"]
        page = self._range(
            delivery_records.job_pk(tenant, job_id),
            low,
            delivery_records.delivery_prefix(target) + "~",
            Limit=1,
        )
        return delivery_records.delivery_of(page[0]) if page else None

    def save(self, delivery: Delivery) -> Delivery:
        saved = replace(delivery, rev=delivery.rev + 1)
        with translate_dynamodb_errors("save delivery"):
            self._dynamodb.put_item(
                TableName=self._table,
                Item=to_item(self._record_of(saved)),
                ConditionExpression="#rev = :rev",
                ExpressionAttributeNames={"#rev": "rev"},
                ExpressionAttributeValues={":rev": to_value(delivery.rev)},
            )
        return saved

    def record_attempt(self, attempt: Attempt) -> None:
        with translate_dynamodb_errors("record attempt"):
            self._dynamodb.put_item(
                TableName=self._table, Item=to_item(delivery_records.attempt_record(attempt))
            )

    def of_job(self, tenant: str, job_id: str) -> Sequence[Delivery]:
        records = self._all(delivery_records.job_pk(tenant, job_id), "DELIVERY#")
        return sorted(
            map(delivery_records.delivery_of, records), key=lambda each: (each.sequence, each.target)
        )

    def attempts_of_job(self, tenant: str, job_id: str) -> Sequence[Attempt]:
        records = self._all(delivery_records.job_pk(tenant, job_id), "ATTEMPT#")
        return sorted(map(delivery_records.attempt_of, records), key=lambda each: each.at)

    def attempts(self, delivery: Delivery) -> Sequence[Attempt]:
        pk = delivery_records.job_pk(delivery.tenant, delivery.job_id)
        records = self._all(pk, delivery_records.attempt_prefix(delivery.sequence, delivery.target))
        return [delivery_records.attempt_of(record) for record in records]

    def deliveries_to(
        self,
        tenant: str,
        target: str,
        *,
        since: datetime | None,
        cursor: str | None,
        limit: int,
        oldest_first: bool,
    ) -> DeliveryPage:
        hash_key = delivery_records.deliveries_index(tenant, target)
        records, following = self._by_endpoint(hash_key, since, cursor, limit, oldest_first=oldest_first)
        return DeliveryPage(tuple(delivery_records.delivery_of(record) for record in records), following)

    def attempts_to(self, tenant: str, target: str, *, cursor: str | None, limit: int) -> AttemptPage:
        hash_key = delivery_records.attempts_index(tenant, target)
        records, following = self._by_endpoint(hash_key, None, cursor, limit, oldest_first=False)
        return AttemptPage(tuple(delivery_records.attempt_of(record) for record in records), following)

    def due(self, shard: int, *, before: datetime, limit: int) -> Sequence[DueDelivery]:
        with translate_dynamodb_errors("list due deliveries"):
            reply = self._dynamodb.query(
                TableName=self._table,
                IndexName="by_due",
                KeyConditionExpression="due_shard = :shard AND due_at <= :before",
                ExpressionAttributeValues={
                    ":shard": to_value(f"DUE#{shard}"),
                    ":before": to_value(format_timestamp(before)),
                },
                Limit=limit,
            )
        return [_due_row(from_item(item)) for item in reply["Items"]]

    def hand_over(self, due: DueDelivery, *, until: datetime) -> None:
        command = due.command
        key = delivery_records.delivery_key(command.tenant, command.job_id, command.sequence, command.target)
        with suppress(ConflictError), translate_dynamodb_errors("hand over delivery"):
            self._dynamodb.update_item(
                TableName=self._table,
                Key=to_item(key),
                UpdateExpression="SET due_at = :until",
                ConditionExpression="due_at = :seen",
                ExpressionAttributeValues={
                    ":until": to_value(format_timestamp(until)),
                    ":seen": to_value(format_timestamp(due.due_at)),
                },
            )

    def _record_of(self, delivery: Delivery) -> dict[str, Any]:
        return delivery_records.delivery_record(delivery, shards=self._due_shards)

    def _put_new(self, record: Mapping[str, Any], what: str) -> bool:
        with suppress(ConflictError), translate_dynamodb_errors(what):
            self._dynamodb.put_item(
                TableName=self._table, Item=to_item(record), ConditionExpression="attribute_not_exists(pk)"
            )
            return True
        return False

    def _get(self, key: Mapping[str, str], what: str) -> dict[str, Any] | None:
        with translate_dynamodb_errors(what):
            reply = self._dynamodb.get_item(TableName=self._table, Key=to_item(key), ConsistentRead=True)
        return from_item(reply["Item"]) if "Item" in reply else None

    def _range(self, pk: str, low: str, high: str, **options: Any) -> list[dict[str, Any]]:
        with translate_dynamodb_errors("list deliveries"):
            reply = self._dynamodb.query(
                TableName=self._table,
                KeyConditionExpression="pk = :pk AND sk BETWEEN :low AND :high",
                ExpressionAttributeValues={
                    ":pk": to_value(pk),
                    ":low": to_value(low),
                    ":high": to_value(high),
                },
                ConsistentRead=True,
                **options,
            )
        return [from_item(item) for item in reply["Items"]]

    def _all(self, pk: str, prefix: str) -> list[dict[str, Any]]:
        records: list[dict[str, Any]] = []
        more: dict[str, Any] = {}
        while True:
            with translate_dynamodb_errors("list records of a job"):
                reply = self._dynamodb.query(
                    TableName=self._table,
                    KeyConditionExpression="pk = :pk AND begins_with(sk, :prefix)",
                    ExpressionAttributeValues={":pk": to_value(pk), ":prefix": to_value(prefix)},
                    ConsistentRead=True,
                    **more,
                )
            records += [from_item(item) for item in reply["Items"]]
            if "LastEvaluatedKey" not in reply:
                return records
            more = {"ExclusiveStartKey": reply["LastEvaluatedKey"]}

    def _by_endpoint(
        self, hash_key: str, since: datetime | None, cursor: str | None, limit: int, *, oldest_first: bool
    ) -> tuple[list[dict[str, Any]], str | None]:
        """Keys from the index, then the records in one batch: an index of keys only keeps writes cheap."""
        start = {"ExclusiveStartKey": _start_key(cursor, hash_key)} if cursor else {}
        values = {
            ":endpoint": to_value(hash_key),
            ":since": to_value(format_timestamp(since) if since else "0"),
        }
        with translate_dynamodb_errors("list by endpoint"):
            reply = self._dynamodb.query(
                TableName=self._table,
                IndexName="by_endpoint",
                KeyConditionExpression="endpoint = :endpoint AND #at >= :since",
                ExpressionAttributeNames={"#at": "at"},
                ExpressionAttributeValues=values,
                ScanIndexForward=oldest_first,
                Limit=limit,
                **start,
            )
        keys = [{"pk": item["pk"], "sk": item["sk"]} for item in reply["Items"]]
        last = reply.get("LastEvaluatedKey")
        return self._batch(keys), _cursor(last) if last else None

    def _batch(self, keys: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """In the order of the keys; those whose record has expired meanwhile are left out."""
        records = batch_get_records(self._dynamodb, self._table, keys, "read records")
        found = {(record["pk"], record["sk"]): record for record in records}
        order = [(from_item(key)["pk"], from_item(key)["sk"]) for key in keys]
        return [found[name] for name in order if name in found]


def _due_row(record: Mapping[str, Any]) -> DueDelivery:
    tenant, _, job_id = record["pk"].removeprefix("JOB#").rpartition("#")
    target, _, sequence = record["sk"].removeprefix("DELIVERY#").rpartition("#")
    command = DeliverCommand(tenant=tenant, job_id=job_id, sequence=int(sequence), target=target)
    return DueDelivery(command, parse_timestamp(record["due_at"]))


def _cursor(last: Mapping[str, Any]) -> str:
    """Opaque, and without the tenant: `_start_key` puts the caller's own back."""
    record = from_item(last)
    text = json.dumps([record["pk"].rpartition("#")[2], record["sk"], record["at"]], separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _start_key(cursor: str, hash_key: str) -> dict[str, Any]:
    tenant = hash_key.split("#", 2)[2]
    try:
        job_id, sk, at = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        if not all(isinstance(part, str) for part in (job_id, sk, at)):
            raise ValueError("not text")
    except (ValueError, TypeError, binascii.Error) as error:
        raise ApiError(400, "Invalid cursor", "The cursor is not one that this API gave out") from error
    return to_item({"pk": delivery_records.job_pk(tenant, job_id), "sk": sk, "endpoint": hash_key, "at": at})
