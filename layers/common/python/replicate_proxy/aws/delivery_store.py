"""Events, deliveries and attempts in DynamoDB."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from replicate_proxy.aws import delivery_records
from replicate_proxy.aws.dynamodb import (
    batch_get_records,
    from_item,
    get_record,
    iterate_records,
    put_record,
    to_item,
    to_value,
    translate_dynamodb_errors,
)
from replicate_proxy.clock import format_timestamp
from replicate_proxy.errors import ConflictError
from replicate_proxy.webhooks.ports import AttemptPage, DeliveryPage, DeliveryPosition

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_dynamodb.type_defs import QueryInputTypeDef

    from replicate_proxy.webhooks.model import Attempt, Delivery, StoredEvent
    from replicate_proxy.webhooks.ports import DueDelivery, DueEndpoint


class DynamoDeliveryStore:
    """The DeliveryStore port on the deliveries table."""

    def __init__(self, client: DynamoDBClient, table: str, *, due_shards: int) -> None:
        self._client = client
        self._table = table
        self._due_shards = due_shards

    def create_event(self, event: StoredEvent) -> None:
        self._put_new(delivery_records.record_from_event(event), "store event")

    def get_event(self, tenant: str, job_id: str, sequence: int) -> StoredEvent | None:
        record = self._get(delivery_records.event_key(tenant, job_id, sequence), "read event")
        return delivery_records.event_from_record(record) if record else None

    def create(self, delivery: Delivery) -> bool:
        return self._put_new(self._build_record(delivery), "store delivery")

    def get(self, tenant: str, job_id: str, sequence: int, target: str) -> Delivery | None:
        record = self._get(delivery_records.delivery_key(tenant, job_id, sequence, target), "read delivery")
        return delivery_records.delivery_from_record(record) if record else None

    def list_latest(
        self, tenant: str, job_id: str, target: str, *, up_to_sequence: int | None = None, limit: int
    ) -> Sequence[Delivery]:
        prefix = delivery_records.delivery_prefix(target)
        records = self._query_range(
            delivery_records.job_pk(tenant, job_id),
            prefix,
            f"{prefix}~" if up_to_sequence is None else delivery_records.delivery_sk(target, up_to_sequence),
            ScanIndexForward=False,
            Limit=limit,
        )
        return [delivery_records.delivery_from_record(record) for record in records]

    def get_next(self, delivery: Delivery) -> Delivery | None:
        records = self._query_range(
            delivery_records.job_pk(delivery.tenant, delivery.job_id),
            delivery_records.delivery_sk(delivery.target, delivery.sequence + 1),
            delivery_records.delivery_prefix(delivery.target) + "~",
            Limit=1,
        )
        return delivery_records.delivery_from_record(records[0]) if records else None

    def save(self, delivery: Delivery) -> Delivery:
        saved = replace(delivery, revision=delivery.revision + 1)
        put_record(
            self._client,
            self._table,
            self._build_record(saved),
            "save delivery",
            condition="revision = :revision",
            values={":revision": delivery.revision},
        )
        return saved

    def record_attempt(self, attempt: Attempt) -> None:
        with translate_dynamodb_errors("store attempt"):
            self._client.put_item(
                TableName=self._table, Item=to_item(delivery_records.record_from_attempt(attempt))
            )

    def list_by_job(self, tenant: str, job_id: str) -> Sequence[Delivery]:
        records = self._query_prefix(delivery_records.job_pk(tenant, job_id), "DELIVERY#")
        deliveries = map(delivery_records.delivery_from_record, records)
        return sorted(deliveries, key=lambda delivery: (delivery.sequence, delivery.target))

    def list_attempts_by_job(self, tenant: str, job_id: str) -> Sequence[Attempt]:
        records = self._query_prefix(delivery_records.job_pk(tenant, job_id), "ATTEMPT#")
        attempts = map(delivery_records.attempt_from_record, records)
        return sorted(attempts, key=lambda attempt: attempt.sent_at)

    def list_attempts(self, delivery: Delivery) -> Sequence[Attempt]:
        records = self._query_prefix(
            delivery_records.job_pk(delivery.tenant, delivery.job_id),
            delivery_records.attempt_prefix(delivery.target, delivery.sequence),
        )
        return [delivery_records.attempt_from_record(record) for record in records]

    def list_by_target(
        self,
        tenant: str,
        target: str,
        *,
        since: datetime | None,
        after: DeliveryPosition | None,
        limit: int,
        oldest_first: bool,
    ) -> DeliveryPage:
        target_key = delivery_records.deliveries_target_key(tenant, target)
        records, next_position = self._query_target(
            target_key, since, after, limit, oldest_first=oldest_first
        )
        return DeliveryPage(tuple(map(delivery_records.delivery_from_record, records)), next_position)

    def list_attempts_by_target(
        self, tenant: str, target: str, *, after: DeliveryPosition | None, limit: int
    ) -> AttemptPage:
        target_key = delivery_records.attempts_target_key(tenant, target)
        records, next_position = self._query_target(target_key, None, after, limit, oldest_first=False)
        return AttemptPage(tuple(map(delivery_records.attempt_from_record, records)), next_position)

    def list_due(self, shard: int, *, before: datetime, limit: int) -> Sequence[DueDelivery | DueEndpoint]:
        with translate_dynamodb_errors("list due deliveries"):
            response = self._client.query(
                TableName=self._table,
                IndexName="by_due",
                KeyConditionExpression="due_shard = :shard AND due_at <= :before",
                ExpressionAttributeValues={
                    ":shard": to_value(delivery_records.due_shard_key(shard)),
                    ":before": to_value(format_timestamp(before)),
                },
                Limit=limit,
            )
        return [delivery_records.due_row_from_record(from_item(item)) for item in response["Items"]]

    def postpone(self, due: DueDelivery, *, due_at: datetime, paused_since: datetime | None = None) -> None:
        command = due.command
        update, values = "SET due_at = :due_at", {":due_at": format_timestamp(due_at)}
        if paused_since is not None:
            update += ", paused_since = if_not_exists(paused_since, :paused_since)"
            values[":paused_since"] = format_timestamp(paused_since)
        key = delivery_records.delivery_key(command.tenant, command.job_id, command.sequence, command.target)
        with suppress(ConflictError), translate_dynamodb_errors("postpone delivery"):
            self._client.update_item(
                TableName=self._table,
                Key=to_item(key),
                UpdateExpression=update,
                ConditionExpression="due_at = :listed_due_at",
                ExpressionAttributeValues={
                    **to_item(values),
                    ":listed_due_at": to_value(format_timestamp(due.due_at)),
                },
            )

    def _build_record(self, delivery: Delivery) -> dict[str, Any]:
        return delivery_records.record_from_delivery(delivery, due_shards=self._due_shards)

    def _put_new(self, record: Mapping[str, Any], operation: str) -> bool:
        """Write the record unless its key exists; return whether it was new."""
        try:
            put_record(self._client, self._table, record, operation, condition="attribute_not_exists(pk)")
        except ConflictError:
            return False
        return True

    def _get(self, key: Mapping[str, str], operation: str) -> dict[str, Any] | None:
        return get_record(self._client, self._table, key, operation) or None

    def _query_range(self, pk: str, low_sk: str, high_sk: str, **options: Any) -> list[dict[str, Any]]:
        with translate_dynamodb_errors("list deliveries"):
            response = self._client.query(
                TableName=self._table,
                KeyConditionExpression="pk = :pk AND sk BETWEEN :low AND :high",
                ExpressionAttributeValues={
                    ":pk": to_value(pk),
                    ":low": to_value(low_sk),
                    ":high": to_value(high_sk),
                },
                ConsistentRead=True,
                **options,
            )
        return [from_item(item) for item in response["Items"]]

    def _query_prefix(self, pk: str, sk_prefix: str) -> list[dict[str, Any]]:
        """Return all records whose sort key has the prefix."""
        request: QueryInputTypeDef = {
            "TableName": self._table,
            "KeyConditionExpression": "pk = :pk AND begins_with(sk, :prefix)",
            "ExpressionAttributeValues": {":pk": to_value(pk), ":prefix": to_value(sk_prefix)},
            "ConsistentRead": True,
        }
        return list(iterate_records(self._client, request, "list records of a job"))

    def _query_target(
        self,
        target_key: str,
        since: datetime | None,
        after: DeliveryPosition | None,
        limit: int,
        *,
        oldest_first: bool,
    ) -> tuple[list[dict[str, Any]], DeliveryPosition | None]:
        """Return a page of records and the position of the next page.

        The index holds keys only, which keeps writes cheap; the records are read in a batch. DynamoDB rejects
        a position outside the range (Query, ExclusiveStartKey), which is one of another `since`.
        """
        if after is not None and since is not None and after.at < format_timestamp(since):
            if not oldest_first:
                return [], None
            after = None
        request: QueryInputTypeDef = {
            "TableName": self._table,
            "IndexName": "by_target",
            "KeyConditionExpression": "target_key = :target_key AND #at >= :since",
            "ExpressionAttributeNames": {"#at": "at"},
            "ExpressionAttributeValues": {
                ":target_key": to_value(target_key),
                ":since": to_value(format_timestamp(since) if since else "0"),
            },
            "ScanIndexForward": oldest_first,
            "Limit": limit,
        }
        if after is not None:
            request["ExclusiveStartKey"] = _build_start_key(after, target_key)
        with translate_dynamodb_errors("list by target"):
            response = self._client.query(**request)
        keys = [{"pk": item["pk"], "sk": item["sk"]} for item in response["Items"]]
        last_key = response.get("LastEvaluatedKey")
        return self._get_in_order(keys), _build_position(last_key) if last_key else None

    def _get_in_order(self, keys: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Return the records in the order of their keys, without those that have expired meanwhile."""
        records = batch_get_records(self._client, self._table, keys, "read records")
        by_key = {(record["pk"], record["sk"]): record for record in records}
        ordered_keys = [(key["pk"], key["sk"]) for key in map(from_item, keys)]
        return [by_key[key] for key in ordered_keys if key in by_key]


def _build_position(last_key: Mapping[str, Any]) -> DeliveryPosition:
    """Return the position without the tenant: `_build_start_key` inserts the caller's own."""
    record = from_item(last_key)
    return DeliveryPosition(record["pk"].rpartition("#")[2], record["sk"], record["at"])


def _build_start_key(position: DeliveryPosition, target_key: str) -> dict[str, Any]:
    tenant = target_key.split("#", 2)[2]
    pk = delivery_records.job_pk(tenant, position.job_id)
    return to_item({"pk": pk, "sk": position.sort_key, "target_key": target_key, "at": position.at})
