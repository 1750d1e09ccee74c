"""Jobs of all tenants, by the indexes of the jobs table."""

from __future__ import annotations

from itertools import batched
from typing import TYPE_CHECKING, Any

from replicate_proxy.aws.dynamodb import (
    MAX_BATCH_KEYS,
    batch_get_records,
    from_item,
    to_item,
    to_value,
    translate_dynamodb_errors,
)
from replicate_proxy.aws.id_index import list_newest_in, list_older_in
from replicate_proxy.aws.job_records import (
    DUE_PARTITIONS,
    JOB_LIST,
    is_deletion,
    job_from_record,
    job_key,
)
from replicate_proxy.clock import parse_timestamp
from replicate_proxy.jobs.model import EndReason, JobStatus
from replicate_proxy.operations.job_ports import JobEntry, UnfinishedJobs
from replicate_proxy.parallel import map_in_parallel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_dynamodb.type_defs import QueryInputTypeDef

    from replicate_proxy.jobs.model import Job


# A page of a query holds 1 MB, an entry of `by_due` takes about 200 bytes: 150,000 unfinished jobs are read.
_MAX_PAGES_PER_SHARD = 4


class DynamoJobIndex:
    """The JobIndex port on the jobs table. Reads are eventually consistent, as indexes are."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._client = client
        self._table = table

    def find(self, job_id: str) -> JobEntry | None:
        found = list_newest_in(
            self._client, self._table, "by_time", "list_name", JOB_LIST, low=job_id, high=job_id, limit=1
        )
        return _entry_from_record(found[0]) if found else None

    def list_all(self, *, before_id: str | None, min_id: str | None, limit: int) -> list[JobEntry]:
        return self._list_newest("by_time", "list_name", JOB_LIST, before_id, min_id, limit)

    def list_ended(
        self, status: JobStatus, *, before_id: str | None, min_id: str | None, limit: int
    ) -> list[JobEntry]:
        return self._list_newest("by_outcome", "outcome", status.value, before_id, min_id, limit)

    def list_of_tenant(
        self, tenant: str, *, before_id: str | None, min_id: str | None, limit: int
    ) -> list[JobEntry]:
        return self._list_newest("by_tenant", "tenant", tenant, before_id, min_id, limit)

    def list_unfinished(self) -> UnfinishedJobs:
        shards = map_in_parallel(self._list_due_shard, DUE_PARTITIONS)
        entries = tuple(entry for found, _ in shards for entry in found)
        return UnfinishedJobs(entries, is_complete=all(reached_end for _, reached_end in shards))

    def get_jobs(self, entries: Sequence[JobEntry]) -> dict[str, Job]:
        keys = [to_item(job_key(entry.tenant, entry.id)) for entry in entries]

        def read(some: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
            return batch_get_records(self._client, self._table, some, "read jobs")

        parts = map_in_parallel(read, list(batched(keys, MAX_BATCH_KEYS, strict=False)))
        records = [record for part in parts for record in part]
        return {record["id"]: job_from_record(record) for record in records if not is_deletion(record)}

    def _list_newest(
        self,
        index: str,
        attribute: str,
        partition: str,
        before_id: str | None,
        min_id: str | None,
        limit: int,
    ) -> list[JobEntry]:
        found = list_older_in(
            self._client,
            self._table,
            index,
            attribute,
            partition,
            before_id=before_id,
            min_id=min_id,
            limit=limit,
        )
        return [_entry_from_record(record) for record in found]

    def _list_due_shard(self, shard: str) -> tuple[list[JobEntry], bool]:
        """Return the entries, and whether these are all."""
        entries: list[JobEntry] = []
        request: QueryInputTypeDef = {
            "TableName": self._table,
            "IndexName": "by_due",
            "KeyConditionExpression": "due_shard = :shard",
            "ExpressionAttributeValues": {":shard": to_value(shard)},
        }
        for _ in range(_MAX_PAGES_PER_SHARD):
            with translate_dynamodb_errors("list unfinished jobs"):
                response = self._client.query(**request)
            entries += [_entry_from_record(from_item(item)) for item in response["Items"]]
            if "LastEvaluatedKey" not in response:
                return entries, True
            request["ExclusiveStartKey"] = response["LastEvaluatedKey"]
        return entries, False


def _entry_from_record(record: Mapping[str, Any]) -> JobEntry:
    tenant, _, job_id = record["pk"].removeprefix("JOB#").rpartition("#")
    status, reason = record.get("status"), record.get("end_reason")
    checked_at = record.get("next_check_at")
    return JobEntry(
        tenant,
        job_id,
        status=JobStatus(status) if status else None,
        end_reason=EndReason(reason) if reason else None,
        next_check_at=parse_timestamp(checked_at) if checked_at else None,
    )
