"""Erasures of tenants in the jobs table, with marks by which the sweep finds those that are due.

| pk           | sk               | item                                                            |
|--------------|------------------|-----------------------------------------------------------------|
| ERASURES     | <tenant>         | the last erasure of the tenant, as JSON                         |
| BULK#RUNNING | ERASURE#<tenant> | while it goes on: when it is due, see `bulk_marks`              |

A new erasure is written with its mark in one transaction: without the mark, no worker would find it. Later
marks are written after the progress, and are due at the same time or before.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from replicate_proxy.audit.model import AuditSource
from replicate_proxy.aws.bulk_marks import BulkMarks, build_erasure_mark
from replicate_proxy.aws.dynamodb import (
    get_record,
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
from replicate_proxy.operations.erasure.model import REPORT_RETENTION, Erasure, ErasureStatus, ErasureStep
from replicate_proxy.operations.ports import Stage

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_dynamodb.type_defs import TransactWriteItemTypeDef

_PARTITION = "ERASURES"
_PLAIN_VALUES = ("tenant", "key_id", "correlation_id", "position", "cursor", "found", "unfinished")
_OPTIONAL_TIMES = ("quiet_until", "tombstones_until", "emptied_at", "completed_at")


class DynamoErasureStore:
    """The ErasureStore port. Reports expire a year after the end."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._client = client
        self._table = table
        self._marks = BulkMarks(client, table)

    def create(self, erasure: Erasure) -> Erasure:
        created = replace(erasure, revision=erasure.revision + 1)
        put: TransactWriteItemTypeDef = {
            "Put": {
                "TableName": self._table,
                "Item": to_item(_build_record(created)),
                "ConditionExpression": "attribute_not_exists(pk) OR is_completed = :yes",
                "ExpressionAttributeValues": {":yes": to_value(True)},
            }
        }
        mark: TransactWriteItemTypeDef = {
            "Put": {
                "TableName": self._table,
                "Item": to_item(build_erasure_mark(created.tenant, created.due_at)),
            }
        }
        with translate_dynamodb_errors("create erasure"):
            self._client.transact_write_items(TransactItems=[put, mark])
        return created

    def get(self, tenant: str) -> Erasure | None:
        record = get_record(self._client, self._table, _build_key(tenant), "read erasure")
        return _erasure_from_record(record) if record else None

    def replace(self, erasure: Erasure) -> Erasure:
        saved = replace(erasure, revision=erasure.revision + 1)
        put_record(
            self._client,
            self._table,
            _build_record(saved),
            "save erasure",
            condition="revision = :revision",
            values={":revision": erasure.revision},
        )
        self._mark(saved)
        return saved

    def close(self, erasure: Erasure) -> None:
        self._marks.remove_erasure(erasure.tenant)

    def list_due(self, now: datetime) -> list[Erasure]:
        due = []
        for tenant in self._marks.list_due_erasures(now):
            erasure = self.get(tenant)
            if erasure is None:
                self._marks.remove_erasure(tenant)
            elif erasure.due_at <= now:
                due.append(erasure)
            else:
                self._mark(erasure)
        return due

    def _mark(self, erasure: Erasure) -> None:
        self._marks.put_erasure(erasure.tenant, erasure.due_at)


def _build_record(erasure: Erasure) -> dict[str, Any]:
    is_completed = erasure.status is ErasureStatus.COMPLETED
    expires_at = erasure.completed_at + REPORT_RETENTION if erasure.completed_at else None
    return {
        **_build_key(erasure.tenant),
        "erasure": json.dumps(_describe(erasure)),
        "revision": erasure.revision,
        "is_completed": is_completed or None,
        "expires_at": int(expires_at.timestamp()) if expires_at else None,
    }


def _build_key(tenant: str) -> dict[str, str]:
    return {"pk": _PARTITION, "sk": tenant}


def _describe(erasure: Erasure) -> dict[str, Any]:
    return {
        **{name: getattr(erasure, name) for name in _PLAIN_VALUES},
        **{name: format_optional_timestamp(getattr(erasure, name)) for name in _OPTIONAL_TIMES},
        "started_at": format_timestamp(erasure.started_at),
        "due_at": format_timestamp(erasure.due_at),
        "source": erasure.source.value,
        "stage": [erasure.stage.api_id, erasure.stage.name],
        "status": erasure.status.value,
        "step": erasure.step.value,
        "pending": list(erasure.pending),
        "removed": dict(erasure.removed),
    }


def _erasure_from_record(record: Mapping[str, Any]) -> Erasure:
    stored = json.loads(record["erasure"])
    times: dict[str, Any] = {name: parse_optional_timestamp(stored[name]) for name in _OPTIONAL_TIMES}
    return Erasure(
        **{name: stored[name] for name in _PLAIN_VALUES},
        **times,
        started_at=parse_timestamp(stored["started_at"]),
        due_at=parse_timestamp(stored["due_at"]),
        source=AuditSource(stored["source"]),
        stage=Stage(*stored["stage"]),
        status=ErasureStatus(stored["status"]),
        step=ErasureStep(stored["step"]),
        pending=tuple(stored["pending"]),
        removed=stored["removed"],
        revision=record["revision"],
    )
