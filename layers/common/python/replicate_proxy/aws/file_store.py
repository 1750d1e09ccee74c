"""Records of files in the access table.

A tenant's files are one partition; ids sort by time, so newest first is a Query backwards. A file that its
owner still has to upload has a sort key of its own and moves over when its object is first seen.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from replicate_proxy.aws.dynamodb import (
    batch_get_records,
    from_item,
    to_item,
    to_value,
    translate_dynamodb_errors,
)
from replicate_proxy.clock import format_timestamp, parse_timestamp
from replicate_proxy.files.model import FilePage, StoredFile

if TYPE_CHECKING:
    from collections.abc import Mapping


_UPLOADED = "FILE#"
_AWAITED = "UPLOAD#"


class DynamoFileStore:
    """FileStore on DynamoDB. `expires_at` is the table's TTL attribute, in seconds since 1970."""

    def __init__(self, client: Any, table: str) -> None:
        self._client = client
        self._table = table

    def save(self, file: StoredFile) -> None:
        with translate_dynamodb_errors("save file record"):
            self._client.put_item(TableName=self._table, Item=to_item(_record(file)))
            if file.is_uploaded:
                self._client.delete_item(TableName=self._table, Key=_key(file.tenant, _AWAITED, file.id))

    def get(self, tenant: str, file_id: str) -> StoredFile | None:
        # Both in one call: which of the two an id has is not known, and must not show in the time it takes.
        keys = [_key(tenant, _UPLOADED, file_id), _key(tenant, _AWAITED, file_id)]
        records = batch_get_records(self._client, self._table, keys, "read file record", consistent=True)
        files = [_file(record) for record in records]
        return max(files, key=lambda file: file.is_uploaded, default=None)

    def list_files(self, tenant: str, *, before_id: str | None, limit: int) -> FilePage:
        # The end of a BETWEEN is included, so one more than asked for is read and the id itself dropped.
        found = self._query(tenant, _UPLOADED, before_id=before_id, limit=limit + 2)
        files = [file for file in found if file.id != before_id][: limit + 1]
        more = len(files) > limit
        return FilePage(tuple(files[:limit]), files[limit - 1].id if more else None)

    def list_pending(self, tenant: str, *, limit: int) -> tuple[StoredFile, ...]:
        return tuple(self._query(tenant, _AWAITED, before_id=None, limit=limit))

    def delete(self, file: StoredFile) -> None:
        with translate_dynamodb_errors("delete file record"):
            for prefix in (_UPLOADED, _AWAITED):
                self._client.delete_item(TableName=self._table, Key=_key(file.tenant, prefix, file.id))

    def _query(self, tenant: str, prefix: str, *, before_id: str | None, limit: int) -> list[StoredFile]:
        values = {
            ":pk": to_value(_partition(tenant)),
            ":low": to_value(prefix),
            ":high": to_value(prefix + (before_id or "~")),
        }
        with translate_dynamodb_errors("list files"):
            reply = self._client.query(
                TableName=self._table,
                KeyConditionExpression="pk = :pk AND sk BETWEEN :low AND :high",
                ExpressionAttributeValues=values,
                ScanIndexForward=False,
                ConsistentRead=True,
                Limit=limit,
            )
        return [_file(from_item(item)) for item in reply["Items"]]


def _partition(tenant: str) -> str:
    return f"FILES#{tenant}"


def _key(tenant: str, prefix: str, file_id: str) -> dict[str, Any]:
    return to_item({"pk": _partition(tenant), "sk": prefix + file_id})


def _record(file: StoredFile) -> dict[str, Any]:
    return {
        "pk": _partition(file.tenant),
        "sk": (_UPLOADED if file.is_uploaded else _AWAITED) + file.id,
        "id": file.id,
        "tenant": file.tenant,
        "name": file.name,
        "content_type": file.content_type,
        "created_at": format_timestamp(file.created_at),
        "valid_until": format_timestamp(file.expires_at),
        "expires_at": int(file.expires_at.timestamp()),
        "size": file.size_bytes,
        "checksums": dict(file.checksums),
        "metadata": json.dumps(file.metadata),
    }


def _file(record: Mapping[str, Any]) -> StoredFile:
    return StoredFile(
        id=record["id"],
        tenant=record["tenant"],
        name=record["name"],
        content_type=record["content_type"],
        created_at=parse_timestamp(record["created_at"]),
        expires_at=parse_timestamp(record["valid_until"]),
        size_bytes=record.get("size"),
        checksums=record["checksums"],
        metadata=json.loads(record["metadata"]),
    )
