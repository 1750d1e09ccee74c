"""Large batches in the jobs table, and marks by which the worker finds those that are due.

| pk                     | sk                             | item                                          |
|------------------------|--------------------------------|-----------------------------------------------|
| BATCH#<tenant>#<batch> | BATCH                          | the batch, see `aws.job_records`              |
| BATCHES#DUE            | <due at>#<tenant>#<batch>      | when the worker looks at the batch next       |

What the usage function counts is in the table of usage, see `aws.usage_store`.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from replicate_proxy.aws.batch_store import (
    batch_from_record,
    build_puts,
    record_from_batch,
    write_batch,
)
from replicate_proxy.aws.dynamodb import (
    delete_record,
    get_record,
    iterate_records,
    put_record,
    to_item,
    to_value,
    translate_dynamodb_errors,
)
from replicate_proxy.aws.job_records import batch_key, idempotency_key
from replicate_proxy.batches.turns import list_turns
from replicate_proxy.clock import format_timestamp
from replicate_proxy.errors import ConflictError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_dynamodb.type_defs import QueryInputTypeDef, TransactWriteItemTypeDef

    from replicate_proxy.jobs.model import Batch, Job

_DUE = "BATCHES#DUE"
# A mark has some 150 bytes, and a response of DynamoDB 1 MB.
_MAX_MARKS = 1000


class DynamoLargeBatchStore:
    """The LargeBatchStore port."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._client = client
        self._table = table

    def create(self, batch: Batch) -> Batch:
        return self._write_with_mark(batch, "create batch")

    def get(self, tenant: str, batch_id: str) -> Batch | None:
        record = get_record(self._client, self._table, batch_key(tenant, batch_id), "read batch")
        return batch_from_record(record) if record else None

    def replace(self, batch: Batch) -> Batch:
        saved = replace(batch, revision=batch.revision + 1)
        values = {":revision": batch.revision}
        put_record(
            self._client,
            self._table,
            record_from_batch(saved),
            "save batch",
            condition="revision = :revision",
            values=values,
        )
        return saved

    def hasten(self, batch: Batch) -> Batch:
        """Store the batch with a mark of its time: the earlier mark is listed only when that one is due."""
        return self._write_with_mark(batch, "hasten batch")

    def has_due(self, now: datetime) -> bool:
        return any(True for _ in self._iterate_marks(now, page_size=1))

    def list_due(self, now: datetime, *, limit: int) -> Sequence[Batch]:
        """Return the batches of the marks. A mark that is not that of its batch any more is put right.

        Of more marks than `limit`, those of each tenant have their turn. A batch whose mark was put right
        comes after the others; it is returned only beside those of other tenants, if its own has none.
        """
        due: dict[str, Batch] = {}
        moved: list[Batch] = []
        marks = islice(self._iterate_marks(now, page_size=_MAX_MARKS), _MAX_MARKS)
        for name in chain.from_iterable(list_turns(marks, lambda name: name.split("#")[1])):
            _, tenant, batch_id = name.split("#")
            batch = self.get(tenant, batch_id)
            if batch is None or batch.large is None:
                self._delete({"pk": _DUE, "sk": name})
            elif _name_mark(batch) != name:
                self._move_mark(batch, name)
                moved += [batch] if batch.large.due_at <= now else []
            else:
                due[batch.id] = batch
            if len(due) == limit:
                break
        tenants = {batch.tenant for batch in due.values()}
        others = {batch.id: batch for batch in moved if due and batch.tenant not in tenants}
        return list({**due, **others}.values())

    def _iterate_marks(self, now: datetime, *, page_size: int) -> Iterator[str]:
        request: QueryInputTypeDef = {
            "TableName": self._table,
            "KeyConditionExpression": "pk = :pk AND sk < :now",
            "ExpressionAttributeValues": {
                ":pk": to_value(_DUE),
                ":now": to_value(f"{format_timestamp(now)}~"),
            },
            "ConsistentRead": True,
            "Limit": page_size,
        }
        for record in iterate_records(self._client, request, "list due batches"):
            yield str(record["sk"])

    def replace_with_jobs(self, batch: Batch, jobs: Sequence[Job]) -> Batch:
        if not jobs:
            return self.replace(batch)
        saved = replace(batch, revision=batch.revision + 1)
        write_batch(self._client, self._table, saved, jobs, "create jobs of batch")
        return saved

    def remove(self, batch: Batch) -> None:
        if batch.idempotency_hash is not None:
            self._use_up_key(idempotency_key(batch.tenant, batch.idempotency_hash), batch.id)
        self._delete(batch_key(batch.tenant, batch.id))
        self._delete({"pk": _DUE, "sk": _name_mark(batch)})

    def _use_up_key(self, key: Mapping[str, str], batch_id: str) -> None:
        """Let the idempotency key create nothing else until its day is over, and name no batch any more."""
        record = get_record(self._client, self._table, key, "read idempotency key")
        if record and record["reserved_id"] == batch_id:
            with suppress(ConflictError):
                put_record(
                    self._client,
                    self._table,
                    {**record, "reserved_id": ""},
                    "use up idempotency key",
                    condition="reserved_id = :id",
                    values={":id": batch_id},
                )

    def _write_with_mark(self, batch: Batch, operation: str) -> Batch:
        saved = replace(batch, revision=batch.revision + 1)
        mark: TransactWriteItemTypeDef = {
            "Put": {"TableName": self._table, "Item": to_item(_build_mark(saved))}
        }
        with translate_dynamodb_errors(operation):
            self._client.transact_write_items(TransactItems=[*build_puts(self._table, saved, []), mark])
        return saved

    def _move_mark(self, batch: Batch, name: str) -> None:
        """Put the new mark before the old one is deleted: a crash in between leaves both."""
        with translate_dynamodb_errors("mark batch"):
            self._client.put_item(TableName=self._table, Item=to_item(_build_mark(batch)))
        self._delete({"pk": _DUE, "sk": name})

    def _delete(self, key: Mapping[str, str]) -> None:
        delete_record(self._client, self._table, key, "delete rows of batch")


def _build_mark(batch: Batch) -> dict[str, Any]:
    return {"pk": _DUE, "sk": _name_mark(batch), "expires_at": batch.expires_at}


def _name_mark(batch: Batch) -> str:
    due_at = batch.large.due_at if batch.large is not None else batch.created_at
    return f"{format_timestamp(due_at)}#{batch.tenant}#{batch.id}"
