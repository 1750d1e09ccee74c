"""Deletions of jobs in the jobs table, and the rows that name a job."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from replicate_proxy.aws.deletion_records import deletion_from_record, record_from_deletion
from replicate_proxy.aws.due_index import list_due
from replicate_proxy.aws.dynamodb import (
    delete_record,
    get_record,
    put_record,
    to_item,
    to_value,
    translate_dynamodb_errors,
)
from replicate_proxy.aws.job_records import (
    DELETED,
    DELETION_PARTITIONS,
    batch_key,
    idempotency_key,
    is_deletion,
    job_from_record,
    job_key,
    prediction_owner_key,
)
from replicate_proxy.clock import format_timestamp
from replicate_proxy.errors import ConflictError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from types_boto3_dynamodb import DynamoDBClient

    from replicate_proxy.deletion.model import Deletion
    from replicate_proxy.jobs.model import Job
    from replicate_proxy.ports import BatchStore, DueJob


class DynamoDeletionStore:
    """The DeletionStore port."""

    def __init__(self, client: DynamoDBClient, table: str, batches: BatchStore) -> None:
        self._client = client
        self._table = table
        self._batches = batches

    def mark(self, job: Job, deletion: Deletion) -> None:
        put_record(
            self._client,
            self._table,
            record_from_deletion(deletion, revision=job.revision + 1),
            "mark job as deleted",
            condition="revision = :revision",
            values={":revision": job.revision},
        )

    def get(self, tenant: str, job_id: str) -> Job | Deletion | None:
        record = get_record(self._client, self._table, job_key(tenant, job_id), "read job")
        if not record:
            return None
        return deletion_from_record(record) if is_deletion(record) else job_from_record(record)

    def list_due(self, *, before: datetime, limit: int) -> Sequence[DueJob]:
        """Return the longest due ones that can be read. Raises RetryableError if none can."""
        return list_due(self._client, self._table, DELETION_PARTITIONS, before=before, limit=limit)

    def postpone(self, deletion: Deletion, until: datetime) -> None:
        with suppress(ConflictError), translate_dynamodb_errors("postpone deletion"):
            self._client.update_item(
                TableName=self._table,
                Key=to_item(job_key(deletion.tenant, deletion.id)),
                UpdateExpression="SET next_check_at = :until",
                ConditionExpression="#status = :deleted",
                ExpressionAttributeNames={"#status": "status"},
                ExpressionAttributeValues={
                    ":until": to_value(format_timestamp(until)),
                    ":deleted": to_value(DELETED),
                },
            )

    def remove(self, deletion: Deletion) -> None:
        for name in deletion.predictions:
            self._delete(
                prediction_owner_key(name), "job_id = :job AND tenant = :tenant", _name_job(deletion)
            )
        self._free_idempotency_key(deletion.tenant, deletion.idempotency_hash, deletion.id)
        if deletion.batch_id is not None:
            self._remove_empty_batch(deletion.tenant, deletion.batch_id)
        self._delete(
            job_key(deletion.tenant, deletion.id),
            "#status = :deleted",
            {":deleted": DELETED},
            {"#status": "status"},
        )

    def _remove_empty_batch(self, tenant: str, batch_id: str) -> None:
        """Remove a batch that has no job any more. Other jobs of it that are being deleted do not count.

        A large batch stays until its own retention ends.
        """
        batch = self._batches.get(tenant, batch_id)
        if batch is None or batch.large is not None or self._batches.list_jobs(batch):
            return
        self._free_idempotency_key(tenant, batch.idempotency_hash, batch_id)
        self._delete(batch_key(tenant, batch_id))

    def _free_idempotency_key(self, tenant: str, key_hash: str | None, reserved_id: str) -> None:
        """Remove the key, unless it has expired and another request has taken it."""
        if key_hash is not None:
            self._delete(idempotency_key(tenant, key_hash), "reserved_id = :id", {":id": reserved_id})

    def _delete(
        self,
        key: Mapping[str, Any],
        condition: str = "",
        values: Mapping[str, Any] | None = None,
        names: Mapping[str, str] | None = None,
    ) -> None:
        delete_record(
            self._client,
            self._table,
            key,
            "delete rows of a job",
            condition=condition,
            values=values,
            names=names,
        )


def _name_job(deletion: Deletion) -> dict[str, str]:
    return {":job": deletion.id, ":tenant": deletion.tenant}
