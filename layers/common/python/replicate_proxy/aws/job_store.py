"""Jobs in DynamoDB: conditional writes only, strong reads unless said otherwise."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from secrets import token_hex
from typing import TYPE_CHECKING, Any

from replicate_proxy.aws.dynamodb import (
    batch_get_records,
    from_item,
    stored_record,
    to_item,
    to_value,
    translate_dynamodb_errors,
)
from replicate_proxy.aws.job_records import (
    DUE_SHARD_COUNT,
    job_from_record,
    job_key,
    prediction_owner_key,
    record_from_job,
)
from replicate_proxy.clock import format_timestamp, parse_timestamp
from replicate_proxy.errors import ConflictError, RetryableError
from replicate_proxy.observability import logger
from replicate_proxy.ports import DueJob, JobPage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from replicate_proxy.jobs.model import Job


# A marker must outlive any look through Replicate's list of recent predictions, which holds data for an hour.
_MARKER_SECONDS = 2 * 24 * 3600


class DynamoJobStore:
    """The JobStore port on the jobs table."""

    def __init__(self, dynamodb: Any, table: str) -> None:
        self._dynamodb = dynamodb
        self._table = table

    def create(self, job: Job) -> None:
        with translate_dynamodb_errors("create job"):
            self._dynamodb.put_item(
                TableName=self._table,
                Item=to_item(record_from_job(replace(job, revision=1))),
                ConditionExpression="attribute_not_exists(pk)",
            )

    def get(self, tenant: str, job_id: str, *, consistent: bool = True) -> Job | None:
        with translate_dynamodb_errors("read job"):
            reply = self._dynamodb.get_item(
                TableName=self._table, Key=to_item(job_key(tenant, job_id)), ConsistentRead=consistent
            )
        return job_from_record(from_item(reply["Item"])) if "Item" in reply else None

    def save(self, job: Job) -> Job:
        saved, write_id = replace(job, revision=job.revision + 1), token_hex(8)
        try:
            with translate_dynamodb_errors("save job"):
                self._dynamodb.put_item(
                    TableName=self._table,
                    Item=to_item({**record_from_job(saved), "write_id": write_id}),
                    ConditionExpression="revision = :revision",
                    ExpressionAttributeValues={":revision": to_value(job.revision)},
                    ReturnValuesOnConditionCheckFailure="ALL_OLD",
                )
        except ConflictError as conflict:
            # The SDK sends again what had no answer: what is in the way may be this very write.
            if (stored_record(conflict) or {}).get("write_id") != write_id:
                raise
        return saved

    def list_jobs(self, tenant: str, *, before_id: str | None, min_id: str | None, limit: int) -> JobPage:
        """Ids from the index, then the jobs in batches: the index holds keys only, so that a save costs one
        write.
        """
        low, high = min_id or "0", before_id or "~"
        if low > high:
            return JobPage(jobs=(), next_before_id=None)
        with translate_dynamodb_errors("list jobs"):
            reply = self._dynamodb.query(
                TableName=self._table,
                IndexName="by_tenant",
                KeyConditionExpression="tenant = :tenant AND id BETWEEN :low AND :high",
                ExpressionAttributeValues={
                    ":tenant": to_value(tenant),
                    ":low": to_value(low),
                    ":high": to_value(high),
                },
                ScanIndexForward=False,
                Limit=limit + 2,
            )
        ids = [from_item(item)["id"] for item in reply["Items"]]
        ids = [job_id for job_id in ids if job_id != before_id]
        found = self.get_many(tenant, ids[:limit])
        jobs = tuple(found[job_id] for job_id in ids[:limit] if job_id in found)
        return JobPage(jobs=jobs, next_before_id=ids[limit - 1] if len(ids) > limit else None)

    def get_many(self, tenant: str, ids: Sequence[str], *, consistent: bool = False) -> dict[str, Job]:
        """Those of the jobs that exist, by id."""
        keys = [to_item(job_key(tenant, job_id)) for job_id in ids]
        records = batch_get_records(self._dynamodb, self._table, keys, "read jobs", consistent=consistent)
        jobs = map(job_from_record, records)
        return {job.id: job for job in jobs}

    def list_due_jobs(self, *, before: datetime, limit: int) -> Sequence[DueJob]:
        """The jobs overdue the longest, over all shards of the due index that can be read."""
        rows: list[DueJob] = []
        failures: list[RetryableError] = []
        for shard in range(DUE_SHARD_COUNT):
            try:
                rows += self._due_in(f"DUE#{shard}", before, limit)
            except RetryableError as error:
                logger.warning("due jobs left for the next pass", shard=shard, reason=str(error))
                failures.append(error)
        if len(failures) == DUE_SHARD_COUNT:
            raise failures[0]
        return sorted(rows, key=lambda row: row.next_check_at)[:limit]

    def claim_prediction(self, replicate_id: str, tenant: str, job_id: str) -> bool:
        marker = {**prediction_owner_key(replicate_id), "tenant": tenant, "job_id": job_id}
        expires = {"expires_at": int(datetime.now(UTC).timestamp()) + _MARKER_SECONDS}
        try:
            with translate_dynamodb_errors("mark prediction"):
                self._dynamodb.put_item(
                    TableName=self._table,
                    Item=to_item({**marker, **expires}),
                    ConditionExpression="attribute_not_exists(pk) OR job_id = :job",
                    ExpressionAttributeValues={":job": to_value(job_id)},
                )
        except ConflictError:
            return False
        return True

    def get_prediction_owner(self, replicate_id: str) -> str | None:
        with translate_dynamodb_errors("read mark of prediction"):
            reply = self._dynamodb.get_item(
                TableName=self._table, Key=to_item(prediction_owner_key(replicate_id)), ConsistentRead=True
            )
        return str(from_item(reply["Item"])["job_id"]) if "Item" in reply else None

    def _due_in(self, shard: str, before: datetime, limit: int) -> list[DueJob]:
        with translate_dynamodb_errors("list due jobs"):
            reply = self._dynamodb.query(
                TableName=self._table,
                IndexName="by_due",
                KeyConditionExpression="due_shard = :shard AND next_check_at <= :before",
                ExpressionAttributeValues={
                    ":shard": to_value(shard),
                    ":before": to_value(format_timestamp(before)),
                },
                Limit=limit,
            )
        records = [from_item(item) for item in reply["Items"]]
        return [_due_row(record) for record in records]


def _due_row(record: dict[str, Any]) -> DueJob:
    tenant, _, job_id = record["pk"].removeprefix("JOB#").rpartition("#")
    return DueJob(tenant=tenant, id=job_id, next_check_at=parse_timestamp(record["next_check_at"]))
