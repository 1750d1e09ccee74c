"""The lines of concurrency limits in the jobs table: `WAITING#<limit>`, `<job ID>#<tenant>`.

A job ID begins with the time of acceptance, so that a line is sorted by it. Those of large batches have `~`
before them, so that they come last.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from replicate_proxy.aws.dynamodb import from_item, to_item, to_value, translate_dynamodb_errors
from replicate_proxy.concurrency.model import WaitingJob

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from types_boto3_dynamodb import DynamoDBClient


class DynamoLineStore:
    """Jobs in line, by the name of the limit."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._client = client
        self._table = table

    def insert(self, limit_name: str, job: WaitingJob) -> None:
        record = {
            **_build_key(limit_name, job),
            "tenant": job.tenant,
            "job_id": job.job_id,
            "correlation_id": job.correlation_id,
            "expires_at": job.expires_at,
            "is_batched": job.is_batched or None,
        }
        with translate_dynamodb_errors("join line"):
            self._client.put_item(TableName=self._table, Item=to_item(record))

    def delete_jobs(self, limit_name: str, jobs: Sequence[WaitingJob]) -> None:
        for job in jobs:
            with translate_dynamodb_errors("leave line"):
                self._client.delete_item(TableName=self._table, Key=to_item(_build_key(limit_name, job)))

    def list_jobs_in_line(self, limit_name: str, count: int) -> list[WaitingJob]:
        """Return the first jobs of the line."""
        with translate_dynamodb_errors("list line"):
            response = self._client.query(
                TableName=self._table,
                KeyConditionExpression="pk = :pk",
                ExpressionAttributeValues={":pk": to_value(_build_pk(limit_name))},
                ConsistentRead=True,
                Limit=count,
            )
        return [_job_from_record(from_item(item)) for item in response["Items"]]

    def count_ahead(self, limit_name: str, position: str, *, at_most: int) -> int:
        with translate_dynamodb_errors("count line"):
            response = self._client.query(
                TableName=self._table,
                KeyConditionExpression="pk = :pk AND sk < :job",
                ExpressionAttributeValues={
                    ":pk": to_value(_build_pk(limit_name)),
                    ":job": to_value(position),
                },
                Select="COUNT",
                Limit=at_most,
            )
        return response["Count"]


def _build_pk(limit_name: str) -> str:
    return f"WAITING#{limit_name}"


def _build_key(limit_name: str, job: WaitingJob) -> dict[str, str]:
    return {"pk": _build_pk(limit_name), "sk": f"{job.position}#{job.tenant}"}


def _job_from_record(record: Mapping[str, Any]) -> WaitingJob:
    return WaitingJob(
        record["tenant"],
        record["job_id"],
        record.get("correlation_id", ""),
        record.get("expires_at"),
        record.get("is_batched", False),
    )
