"""The index `by_due` of the jobs table: jobs that the sweep has to check, and jobs that it has to delete."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from replicate_proxy.aws.dynamodb import from_item, to_value, translate_dynamodb_errors
from replicate_proxy.clock import format_timestamp, parse_timestamp
from replicate_proxy.errors import RetryableError
from replicate_proxy.observability import logger
from replicate_proxy.ports import DueJob

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from types_boto3_dynamodb import DynamoDBClient


def list_due(
    client: DynamoDBClient,
    table: str,
    partitions: Sequence[str],
    *,
    before: datetime,
    limit: int,
    requires_all: bool = False,
) -> list[DueJob]:
    """Return the longest due jobs of all partitions that can be read.

    Raises RetryableError if none can, or if one cannot and all are required.
    """
    due_jobs: list[DueJob] = []
    failures: list[RetryableError] = []
    for partition in partitions:
        try:
            due_jobs += _list_partition(client, table, partition, before, limit)
        except RetryableError as error:
            logger.warning("due jobs not listed", partition=partition, reason=str(error))
            failures.append(error)
    if len(failures) == len(partitions) or (failures and requires_all):
        raise failures[0]
    return sorted(due_jobs, key=lambda due_job: due_job.next_check_at)[:limit]


def _list_partition(
    client: DynamoDBClient, table: str, partition: str, before: datetime, limit: int
) -> list[DueJob]:
    with translate_dynamodb_errors("list due jobs"):
        response = client.query(
            TableName=table,
            IndexName="by_due",
            KeyConditionExpression="due_shard = :shard AND next_check_at <= :before",
            ExpressionAttributeValues={
                ":shard": to_value(partition),
                ":before": to_value(format_timestamp(before)),
            },
            Limit=limit,
        )
    return [_due_job_from_record(from_item(item)) for item in response["Items"]]


def _due_job_from_record(record: Mapping[str, Any]) -> DueJob:
    tenant, _, job_id = record["pk"].removeprefix("JOB#").rpartition("#")
    return DueJob(tenant=tenant, id=job_id, next_check_at=parse_timestamp(record["next_check_at"]))
