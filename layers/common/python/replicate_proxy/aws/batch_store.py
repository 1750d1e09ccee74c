"""Batches in the jobs table, each written in one transaction with its jobs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from replicate_proxy.aws.dynamodb import (
    batch_get_records,
    get_record,
    to_item,
    to_value,
    translate_dynamodb_errors,
)
from replicate_proxy.aws.id_index import list_older_in
from replicate_proxy.aws.job_records import BATCH_LIST, batch_key, record_from_job
from replicate_proxy.clock import format_timestamp, parse_timestamp
from replicate_proxy.jobs.model import Batch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_dynamodb.type_defs import TransactWriteItemTypeDef

    from replicate_proxy.aws.job_store import DynamoJobStore
    from replicate_proxy.batches.model import LargeBatch
    from replicate_proxy.jobs.model import Job


class DynamoBatchStore:
    """The BatchStore port on the jobs table."""

    def __init__(self, client: DynamoDBClient, table: str, job_store: DynamoJobStore) -> None:
        self._client = client
        self._table = table
        self._job_store = job_store

    def create(self, batch: Batch, jobs: Sequence[Job]) -> None:
        # The SDK adds a ClientRequestToken, so that it can repeat the request if the response is lost.
        write_batch(self._client, self._table, batch, jobs, "create batch")

    def get(self, tenant: str, batch_id: str) -> Batch | None:
        record = get_record(self._client, self._table, batch_key(tenant, batch_id), "read batch")
        return batch_from_record(record) if record else None

    def list_jobs(self, batch: Batch) -> Sequence[Job]:
        jobs = self._job_store.get_many(batch.tenant, batch.job_ids, consistent=True)
        return [jobs[job_id] for job_id in batch.job_ids if job_id in jobs]

    def list_batches(self, tenant: str | None, *, before_id: str | None, limit: int) -> Sequence[Batch]:
        if tenant is None:
            index, attribute, partition = "by_time", "list_name", BATCH_LIST
        else:
            index, attribute, partition = "by_tenant", "tenant", _build_partition(tenant)
        newest = list_older_in(
            self._client, self._table, index, attribute, partition, before_id=before_id, limit=limit
        )
        keys = [to_item({"pk": entry["pk"], "sk": entry["sk"]}) for entry in newest]
        records = batch_get_records(self._client, self._table, keys, "read batches") if keys else []
        batches = map(batch_from_record, records)
        return sorted(batches, key=lambda batch: batch.id, reverse=True)


def write_batch(
    client: DynamoDBClient, table: str, batch: Batch, jobs: Sequence[Job], operation: str
) -> None:
    """Write a batch with new jobs, or nothing. Raises ConflictError, see `build_puts`."""
    # The SDK adds a ClientRequestToken, so that it can repeat the request if the response is lost.
    with translate_dynamodb_errors(operation):
        client.transact_write_items(TransactItems=build_puts(table, batch, jobs))


def build_puts(table: str, batch: Batch | None, jobs: Sequence[Job]) -> list[TransactWriteItemTypeDef]:
    """Return the items of a transaction that writes new jobs, and a batch.

    One with a revision above 1 replaces the one before, any other must not exist.
    """
    items = [build_new_put(table, record_from_job(replace(job, revision=1))) for job in jobs]
    if batch is not None:
        item = build_new_put(table, record_from_batch(batch))
        if batch.revision > 1:
            item["Put"]["ConditionExpression"] = "revision = :revision"
            item["Put"]["ExpressionAttributeValues"] = {":revision": to_value(batch.revision - 1)}
        items.append(item)
    return items


def build_new_put(table: str, record: Mapping[str, Any]) -> TransactWriteItemTypeDef:
    return {
        "Put": {
            "TableName": table,
            "Item": to_item(record),
            "ConditionExpression": "attribute_not_exists(pk)",
        }
    }


def record_from_batch(batch: Batch) -> dict[str, Any]:
    """Return the record. Its attributes `tenant` and `list_name` keep it apart from jobs in the indexes."""
    return {
        **batch_key(batch.tenant, batch.id),
        "tenant": _build_partition(batch.tenant),
        "id": batch.id,
        "list_name": BATCH_LIST,
        "created_at": format_timestamp(batch.created_at),
        "public_base_url": batch.public_base_url,
        "job_ids": list(batch.job_ids),
        "large": _write_large(batch.large),
        "revision": batch.revision or None,
        "idempotency_hash": batch.idempotency_hash,
        "expires_at": batch.expires_at,
    }


def _write_large(large: LargeBatch | None) -> str | None:
    if large is None:
        return None
    # Imported here and below, because most requests meet no large batch.
    from replicate_proxy.aws.large_batch_records import text_from_large_batch  # noqa: PLC0415

    return text_from_large_batch(large)


def _read_large(text: str | None) -> LargeBatch | None:
    if not text:
        return None
    from replicate_proxy.aws.large_batch_records import large_batch_from_text  # noqa: PLC0415 - as above

    return large_batch_from_text(text)


def _build_partition(tenant: str) -> str:
    """Return the partition of `by_tenant`; the name of no tenant has a `#`."""
    return f"BATCHES#{tenant}"


def batch_from_record(record: Mapping[str, Any]) -> Batch:
    """Return the batch of a record."""
    tenant, _, batch_id = record["pk"].removeprefix("BATCH#").rpartition("#")
    return Batch(
        tenant=tenant,
        id=batch_id,
        created_at=parse_timestamp(record["created_at"]),
        public_base_url=record["public_base_url"],
        job_ids=tuple(record["job_ids"]),
        idempotency_hash=record.get("idempotency_hash"),
        expires_at=record.get("expires_at"),
        large=_read_large(record.get("large")),
        revision=record.get("revision", 0),
    )
