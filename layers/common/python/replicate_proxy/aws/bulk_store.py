"""Bulk operations in the jobs table.

| pk              | sk          | item                                                                     |
|-----------------|-------------|--------------------------------------------------------------------------|
| BULK            | <operation> | an operation, as JSON; running ones have a mark, see `bulk_marks`        |
| BULK#JOBS#<list>| <part>      | a part of its list of jobs, as JSON: `[tenant, ID]` for each             |

The attributes `tenant` and `id`, which would put an item into the indexes of jobs, are within the JSON.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from functools import lru_cache
from itertools import batched
from typing import TYPE_CHECKING, Any

from replicate_proxy.audit.model import AuditSource
from replicate_proxy.aws.bulk_marks import BulkMarks
from replicate_proxy.aws.dynamodb import (
    batch_get_records,
    get_record,
    iterate_records,
    put_record,
    to_item,
    to_value,
    translate_dynamodb_errors,
)
from replicate_proxy.clock import (
    format_optional_timestamp,
    format_timestamp,
    parse_optional_timestamp,
    parse_timestamp,
)
from replicate_proxy.errors import NotFoundError
from replicate_proxy.ids import min_id_at
from replicate_proxy.jobs.job_filter import JobFilter
from replicate_proxy.jobs.metadata import parse_metadata
from replicate_proxy.jobs.model import EndReason, JobStatus
from replicate_proxy.operations.bulk.model import (
    BulkAction,
    BulkOperation,
    BulkStatus,
    JobKey,
    JobOutcome,
    ReasonCount,
    describe_filter,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_dynamodb.type_defs import QueryInputTypeDef

    from replicate_proxy.ports import Clock

_OPERATIONS = "BULK"
# An entry has up to 100 bytes, an item at most 400 kB.
_PART_SIZE = 1000
# Operations with which one worker goes on.
_MAX_RUNNING = 20
# A mark without an operation is that of a start which has failed, or is about to be done.
_ABANDONED_AFTER = timedelta(hours=1)
_PLAIN_VALUES = (
    "id",
    "list_id",
    "key_id",
    "correlation_id",
    "matched",
    "position",
    "tries",
    "done",
    "skipped",
    "failed",
    "canceled_by",
    "error",
)


class DynamoBulkStore:
    """The BulkStore port. Items expire after `retention_days`."""

    def __init__(self, client: DynamoDBClient, table: str, clock: Clock, retention_days: int) -> None:
        self._client = client
        self._table = table
        self._marks = BulkMarks(client, table)
        self._clock = clock
        self._retention = timedelta(days=retention_days)
        self._read_part = lru_cache(maxsize=4)(self._read_part_of)

    def create(self, operation: BulkOperation, keys: Sequence[JobKey]) -> BulkOperation:
        expires_at = self._calculate_expiry(operation)
        for number, part in enumerate(batched(keys, _PART_SIZE, strict=False)):
            jobs = json.dumps([[key.tenant, key.id] for key in part])
            self._put({**_part_key(operation.list_id, number), "jobs": jobs, "expires_at": expires_at})
        self._marks.add(operation.id, expires_at)
        return self._save(operation, "attribute_not_exists(pk)")

    def get(self, operation_id: str) -> BulkOperation | None:
        item = self._get(_operation_key(operation_id))
        return _operation_from_record(item) if item else None

    def list_jobs(self, operation: BulkOperation, limit: int) -> Sequence[JobKey]:
        number, offset = divmod(operation.position, _PART_SIZE)
        return self._read_part(operation.list_id, number)[offset : offset + limit]

    def replace(self, operation: BulkOperation) -> BulkOperation:
        saved = self._save(operation, "revision = :revision", {":revision": operation.revision})
        if not saved.is_running:
            self._marks.remove(saved.id)
        return saved

    def list_newest(self, *, before_id: str | None, limit: int) -> list[BulkOperation]:
        request: QueryInputTypeDef = {
            "TableName": self._table,
            "KeyConditionExpression": "pk = :pk AND sk < :before",
            "ExpressionAttributeValues": {
                ":pk": to_value(_OPERATIONS),
                ":before": to_value(before_id or "~"),
            },
            "ScanIndexForward": False,
        }
        records = iterate_records(self._client, request, "list bulk operations", limit=limit)
        return [_operation_from_record(record) for record in records]

    def list_running(self) -> list[BulkOperation]:
        ids = self._marks.list_ids()
        keys = [to_item(_operation_key(operation_id)) for operation_id in ids]
        records = batch_get_records(self._client, self._table, keys, "read bulk operations", consistent=True)
        operations = {record["sk"]: _operation_from_record(record) for record in records}
        self._remove_old_marks(ids, operations)
        running = [operations[each] for each in ids if each in operations and operations[each].is_running]
        return running[:_MAX_RUNNING]

    def _remove_old_marks(self, ids: Sequence[str], operations: Mapping[str, BulkOperation]) -> None:
        abandoned_before = min_id_at(self._clock.now() - _ABANDONED_AFTER)
        for operation_id in ids:
            operation = operations.get(operation_id)
            is_old = operation_id < abandoned_before if operation is None else not operation.is_running
            if is_old:
                self._marks.remove(operation_id)

    def _save(
        self, operation: BulkOperation, condition: str, values: Mapping[str, Any] | None = None
    ) -> BulkOperation:
        saved = replace(operation, revision=operation.revision + 1)
        record = {
            **_operation_key(saved.id),
            "operation": json.dumps(_describe(saved)),
            "revision": saved.revision,
            "expires_at": self._calculate_expiry(saved),
        }
        put_record(
            self._client, self._table, record, "save bulk operation", condition=condition, values=values
        )
        return saved

    def _calculate_expiry(self, operation: BulkOperation) -> int:
        return int((operation.started_at + self._retention).timestamp())

    def _read_part_of(self, list_id: str, number: int) -> tuple[JobKey, ...]:
        item = self._get(_part_key(list_id, number))
        if not item:
            raise NotFoundError("the list of jobs is gone")
        return tuple(JobKey(*names) for names in json.loads(item["jobs"]))

    def _get(self, key: Mapping[str, str]) -> dict[str, Any]:
        return get_record(self._client, self._table, key, "read bulk operation")

    def _put(self, record: Mapping[str, Any]) -> None:
        with translate_dynamodb_errors("store bulk operation"):
            self._client.put_item(TableName=self._table, Item=to_item(record))


def _operation_key(operation_id: str) -> dict[str, str]:
    return {"pk": _OPERATIONS, "sk": operation_id}


def _part_key(list_id: str, number: int) -> dict[str, str]:
    return {"pk": f"BULK#JOBS#{list_id}", "sk": f"{number:04d}"}


def _describe(operation: BulkOperation) -> dict[str, Any]:
    return {
        **{name: getattr(operation, name) for name in _PLAIN_VALUES},
        "action": operation.action.value,
        "status": operation.status.value,
        "source": operation.source.value,
        "filter": describe_filter(operation.filter),
        "started_at": format_timestamp(operation.started_at),
        "ended_at": format_optional_timestamp(operation.ended_at),
        "reasons": [
            [each.outcome.value, each.reason, each.count, [[key.tenant, key.id] for key in each.samples]]
            for each in operation.reasons
        ],
    }


def _operation_from_record(record: Mapping[str, Any]) -> BulkOperation:
    stored = json.loads(record["operation"])
    return BulkOperation(
        **{name: stored[name] for name in _PLAIN_VALUES},
        action=BulkAction(stored["action"]),
        status=BulkStatus(stored["status"]),
        source=AuditSource(stored["source"]),
        filter=_parse_filter(stored["filter"]),
        started_at=parse_timestamp(stored["started_at"]),
        ended_at=parse_optional_timestamp(stored["ended_at"]),
        reasons=tuple(
            ReasonCount(JobOutcome(outcome), reason, count, tuple(JobKey(*names) for names in samples))
            for outcome, reason, count, samples in stored["reasons"]
        ),
        revision=record["revision"],
    )


def _parse_filter(stored: Mapping[str, str]) -> JobFilter:
    statuses = stored.get("status", "").split(",")
    return JobFilter(
        statuses=frozenset(JobStatus(name) for name in statuses if name),
        tenant=stored.get("tenant"),
        model=stored.get("model"),
        key_id=stored.get("key"),
        batch_id=stored.get("batch"),
        metadata=parse_metadata(stored["metadata"]) if "metadata" in stored else {},
        end_reason=EndReason(stored["error_class"]) if "error_class" in stored else None,
        created_after=parse_optional_timestamp(stored.get("created_after")),
        created_before=parse_optional_timestamp(stored.get("created_before")),
    )
