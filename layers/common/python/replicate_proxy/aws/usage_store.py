"""Usage in DynamoDB: counters, and marks of the jobs that are counted.

| pk                     | sk                      | item                                                    |
|------------------------|-------------------------|---------------------------------------------------------|
| USAGE#<tenant>         | <day>#<model>#<key>     | the counters of an entry; also in `by_day` (day, pk)    |
| USAGE#<tenant>         | ENTRIES#<day>           | the number of the tenant's entries on the day           |
| COUNTED#<tenant>#<job> | COUNTED                 | a job that is counted                                   |
| BATCH#<tenant>#<batch> | COUNTS                  | the ended jobs of a large batch                         |
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import fields
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from replicate_proxy.aws.budget_records import window_key
from replicate_proxy.aws.dynamodb import (
    batch_get_records,
    get_record,
    iterate_records,
    to_item,
    to_value,
    translate_dynamodb_errors,
)
from replicate_proxy.batches.model import BatchCounts
from replicate_proxy.errors import ConflictError
from replicate_proxy.usage.model import COUNTERS, MAX_DAILY_ENTRIES, UsageCounts, UsageEntry, UsageKey

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_dynamodb.type_defs import QueryInputTypeDef, TransactWriteItemTypeDef

    from replicate_proxy.usage.model import EndedJob


# The stream keeps its records for a day (Amazon DynamoDB, Streams): later no change is repeated.
_MARK_LIFETIME = timedelta(days=7)
BATCH_COUNTERS = tuple(field.name for field in fields(BatchCounts))
_ADD_COUNTS = "ADD " + ", ".join(f"{name} :{name}" for name in COUNTERS)


class DynamoUsageStore:
    """The UsageStore port."""

    def __init__(self, client: DynamoDBClient, table: str, *, max_entries: int = MAX_DAILY_ENTRIES) -> None:
        self._client = client
        self._table = table
        self._max_entries = max_entries

    def register(self, key: UsageKey) -> bool:
        if self._has_entry(key):
            return True
        try:
            with translate_dynamodb_errors("register usage entry"):
                self._client.transact_write_items(
                    TransactItems=[self._build_entry_put(key), self._build_entry_count(key)]
                )
        except ConflictError:
            # Either the day is full, or another invocation was faster.
            return self._has_entry(key)
        return True

    def count(self, jobs: Sequence[EndedJob], *, now: datetime) -> None:
        sums: defaultdict[UsageKey, UsageCounts] = defaultdict(UsageCounts)
        for job in jobs:
            sums[job.entry.key] += job.entry.counts
        items = [self._build_mark(job, now) for job in jobs]
        items += [self._build_addition(key, counts) for key, counts in sums.items()]
        items += [
            self._build_settlement(tenant, window, committed, spent)
            for (tenant, window), (committed, spent) in _sum_settlements(jobs).items()
        ]
        items += [
            self._build_batch_addition(tenant, batch_id, counts)
            for (tenant, batch_id), counts in _sum_batches(jobs).items()
        ]
        with translate_dynamodb_errors("count usage"):
            self._client.transact_write_items(TransactItems=items)

    def find_counted(self, jobs: Sequence[EndedJob]) -> set[tuple[str, str]]:
        keys = [to_item(mark_key(job.tenant, job.id)) for job in jobs]
        records = batch_get_records(self._client, self._table, keys, "read marks", consistent=True)
        return {(record["tenant"], record["job_id"]) for record in records}

    def _has_entry(self, key: UsageKey) -> bool:
        with translate_dynamodb_errors("find usage entry"):
            response = self._client.get_item(
                TableName=self._table,
                Key=to_item(_entry_key(key)),
                ProjectionExpression="pk",
                ConsistentRead=True,
            )
        return "Item" in response

    def _build_entry_put(self, key: UsageKey) -> TransactWriteItemTypeDef:
        return {
            "Put": {
                "TableName": self._table,
                "Item": to_item({**_record_from_key(key), **dict.fromkeys(COUNTERS, 0)}),
                "ConditionExpression": "attribute_not_exists(pk)",
            }
        }

    def _build_entry_count(self, key: UsageKey) -> TransactWriteItemTypeDef:
        return {
            "Update": {
                "TableName": self._table,
                "Key": to_item({"pk": _build_partition(key.tenant), "sk": f"ENTRIES#{key.day}"}),
                "UpdateExpression": "ADD entries :one",
                "ConditionExpression": "attribute_not_exists(entries) OR entries < :most",
                "ExpressionAttributeValues": {":one": to_value(1), ":most": to_value(self._max_entries)},
            }
        }

    def _build_mark(self, job: EndedJob, now: datetime) -> TransactWriteItemTypeDef:
        record = {
            **mark_key(job.tenant, job.id),
            "tenant": job.tenant,
            "job_id": job.id,
            "expires_at": int((now + _MARK_LIFETIME).timestamp()),
        }
        return {
            "Put": {
                "TableName": self._table,
                "Item": to_item(record),
                "ConditionExpression": "attribute_not_exists(pk)",
            }
        }

    def _build_addition(self, key: UsageKey, counts: UsageCounts) -> TransactWriteItemTypeDef:
        """Return the update that adds to an entry; it also creates the entry of what is counted together."""
        names = _record_from_key(key)
        del names["pk"], names["sk"]
        return {
            "Update": {
                "TableName": self._table,
                "Key": to_item(_entry_key(key)),
                "UpdateExpression": "SET "
                + ", ".join(f"#{name} = :{name}" for name in names)
                + f" {_ADD_COUNTS}",
                "ExpressionAttributeNames": {f"#{name}": name for name in names},
                "ExpressionAttributeValues": {
                    **{f":{name}": to_value(value) for name, value in names.items()},
                    **{f":{name}": to_value(getattr(counts, name)) for name in COUNTERS},
                },
            }
        }

    def _build_batch_addition(
        self, tenant: str, batch_id: str, counts: UsageCounts
    ) -> TransactWriteItemTypeDef:
        return {
            "Update": {
                "TableName": self._table,
                "Key": to_item(batch_counts_key(tenant, batch_id)),
                "UpdateExpression": "ADD " + ", ".join(f"{name} :{name}" for name in BATCH_COUNTERS),
                "ExpressionAttributeValues": {
                    f":{name}": to_value(getattr(counts, name)) for name in BATCH_COUNTERS
                },
            }
        }

    def _build_settlement(
        self, tenant: str, window: str, committed: int, spent: int
    ) -> TransactWriteItemTypeDef:
        return {
            "Update": {
                "TableName": self._table,
                "Key": to_item(window_key(tenant, window)),
                "UpdateExpression": "ADD committed :committed, spent :spent",
                "ExpressionAttributeValues": {":committed": to_value(committed), ":spent": to_value(spent)},
            }
        }


class DynamoUsageReports:
    """The UsageReads port."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._client = client
        self._table = table

    def list_entries(self, tenant: str, first_day: str, last_day: str) -> list[UsageEntry]:
        request: QueryInputTypeDef = {
            "TableName": self._table,
            "KeyConditionExpression": "pk = :pk AND sk BETWEEN :first AND :last",
            "ExpressionAttributeValues": {
                ":pk": to_value(_build_partition(tenant)),
                ":first": to_value(f"{first_day}#"),
                # The character after `#`: all entries of the last day come before.
                ":last": to_value(f"{last_day}$"),
            },
        }
        return list(map(_entry_from_record, iterate_records(self._client, request, "list usage")))

    def list_all_entries(self, day: str) -> list[UsageEntry]:
        """Return the entries by the keys in the index, which counting does not write to."""
        request: QueryInputTypeDef = {
            "TableName": self._table,
            "IndexName": "by_day",
            "KeyConditionExpression": "#day = :day",
            "ExpressionAttributeNames": {"#day": "day"},
            "ExpressionAttributeValues": {":day": to_value(day)},
        }
        found = iterate_records(self._client, request, "list usage of a day")
        keys = [to_item({"pk": record["pk"], "sk": record["sk"]}) for record in found]
        records = batch_get_records(self._client, self._table, keys, "read usage of a day")
        return [_entry_from_record(record) for record in records]


class DynamoBatchCounts:
    """The BatchCountReader port."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._client = client
        self._table = table

    def read_counts(self, tenant: str, batch_id: str) -> BatchCounts:
        key = batch_counts_key(tenant, batch_id)
        record = get_record(self._client, self._table, key, "read counts of batch")
        return BatchCounts(**{name: record.get(name, 0) for name in BATCH_COUNTERS})

    def remove_counts(self, tenant: str, batch_id: str) -> None:
        with translate_dynamodb_errors("delete counts of batch"):
            key = batch_counts_key(tenant, batch_id)
            self._client.delete_item(TableName=self._table, Key=to_item(key))


def _sum_batches(jobs: Sequence[EndedJob]) -> dict[tuple[str, str], UsageCounts]:
    """Return what ended of each large batch."""
    sums: defaultdict[tuple[str, str], UsageCounts] = defaultdict(UsageCounts)
    for job in jobs:
        if job.batch_id is not None:
            sums[job.tenant, job.batch_id] += job.entry.counts
    return sums


def _sum_settlements(jobs: Sequence[EndedJob]) -> dict[tuple[str, str], tuple[int, int]]:
    """Return what is committed and spent in each window, by tenant and window."""
    sums: dict[tuple[str, str], tuple[int, int]] = {}
    for job in jobs:
        for settlement in job.settlements:
            committed, spent = sums.get((job.tenant, settlement.window), (0, 0))
            sums[job.tenant, settlement.window] = (
                committed + settlement.committed_micro_usd,
                spent + settlement.spent_micro_usd,
            )
    return sums


def _build_partition(tenant: str) -> str:
    return f"USAGE#{tenant}"


def _entry_key(key: UsageKey) -> dict[str, str]:
    return {"pk": _build_partition(key.tenant), "sk": f"{key.day}#{key.model}#{key.key_id}"}


def batch_counts_key(tenant: str, batch_id: str) -> dict[str, str]:
    return {"pk": f"BATCH#{tenant}#{batch_id}", "sk": "COUNTS"}


def mark_key(tenant: str, job_id: str) -> dict[str, str]:
    return {"pk": f"COUNTED#{tenant}#{job_id}", "sk": "COUNTED"}


def _record_from_key(key: UsageKey) -> dict[str, Any]:
    return {
        **_entry_key(key),
        "tenant": key.tenant,
        "day": key.day,
        "model": key.model,
        "key_id": key.key_id,
    }


def _entry_from_record(record: Mapping[str, Any]) -> UsageEntry:
    key = UsageKey(record["tenant"], record["day"], record["model"], record["key_id"])
    return UsageEntry(key, UsageCounts(**{name: record.get(name, 0) for name in COUNTERS}))
