"""The records of input files in the access table.

The files of a tenant are one partition. IDs sort by time, so a query in descending order lists the newest
first. A pending file has another sort key than an uploaded one, and moves when its upload is noticed.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from replicate_proxy.aws.dynamodb import (
    batch_get_records,
    iterate_records,
    to_item,
    to_value,
    translate_dynamodb_errors,
)
from replicate_proxy.clock import format_timestamp, parse_timestamp
from replicate_proxy.files.model import StoredFile
from replicate_proxy.files.multipart import MultipartUpload
from replicate_proxy.files.ports import FilePage
from replicate_proxy.stored_fields import build_from_stored

if TYPE_CHECKING:
    from collections.abc import Mapping

    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_dynamodb.type_defs import QueryInputTypeDef, TransactWriteItemTypeDef


_UPLOADED_PREFIX = "FILE#"
_PENDING_PREFIX = "UPLOAD#"


class DynamoFileStore:
    """The FileStore port on DynamoDB. `expires_at` is the table's TTL attribute, a Unix time in seconds."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._client = client
        self._table = table

    def save(self, file: StoredFile, *, was_pending: bool = False) -> None:
        if was_pending:
            self._move_pending(file)
            return
        with translate_dynamodb_errors("save file record"):
            self._client.put_item(TableName=self._table, Item=to_item(_record_from_file(file)))

    def get(self, tenant: str, file_id: str) -> StoredFile | None:
        # One call for both keys: the ID does not tell which applies, and the response time must not either.
        keys = [
            _build_item_key(tenant, _UPLOADED_PREFIX, file_id),
            _build_item_key(tenant, _PENDING_PREFIX, file_id),
        ]
        records = batch_get_records(self._client, self._table, keys, "read file record", consistent=True)
        files = [_file_from_record(record) for record in records]
        return max(files, key=lambda file: file.is_uploaded, default=None)

    def list_files(self, tenant: str, *, before_id: str | None, limit: int) -> FilePage:
        # BETWEEN includes its upper bound, the file `before_id`, so read one more and drop that one; another
        # one more tells whether there is a next page.
        files = self._query(tenant, _UPLOADED_PREFIX, before_id=before_id, limit=limit + 2)
        files = [file for file in files if file.id != before_id][: limit + 1]
        has_next_page = len(files) > limit
        return FilePage(tuple(files[:limit]), files[limit - 1].id if has_next_page else None)

    def list_pending(self, tenant: str, *, limit: int) -> tuple[StoredFile, ...]:
        return tuple(self._query(tenant, _PENDING_PREFIX, before_id=None, limit=limit))

    def delete(self, file: StoredFile) -> None:
        with translate_dynamodb_errors("delete file record"):
            # The pending item first: without it, a concurrent request cannot move it any more.
            for prefix in (_PENDING_PREFIX, _UPLOADED_PREFIX):
                key = _build_item_key(file.tenant, prefix, file.id)
                self._client.delete_item(TableName=self._table, Key=key)

    def _move_pending(self, file: StoredFile) -> None:
        """Replace the pending item by that of the uploaded file, in one transaction."""
        delete: TransactWriteItemTypeDef = {
            "Delete": {
                "TableName": self._table,
                "Key": _build_item_key(file.tenant, _PENDING_PREFIX, file.id),
                "ConditionExpression": "attribute_exists(pk)",
            }
        }
        put: TransactWriteItemTypeDef = {
            "Put": {"TableName": self._table, "Item": to_item(_record_from_file(file))}
        }
        with translate_dynamodb_errors("move file record"):
            self._client.transact_write_items(TransactItems=[delete, put])

    def _query(self, tenant: str, prefix: str, *, before_id: str | None, limit: int) -> list[StoredFile]:
        values = {
            ":pk": to_value(build_partition_key(tenant)),
            ":low": to_value(prefix),
            ":high": to_value(prefix + (before_id or "~")),
        }
        request: QueryInputTypeDef = {
            "TableName": self._table,
            "KeyConditionExpression": "pk = :pk AND sk BETWEEN :low AND :high",
            "ExpressionAttributeValues": values,
            "ScanIndexForward": False,
            "ConsistentRead": True,
        }
        records = iterate_records(self._client, request, "list files", limit=limit)
        return [_file_from_record(record) for record in records]


def build_partition_key(tenant: str) -> str:
    """Return the partition of a tenant's files."""
    return f"FILES#{tenant}"


def _build_item_key(tenant: str, prefix: str, file_id: str) -> dict[str, Any]:
    return to_item({"pk": build_partition_key(tenant), "sk": prefix + file_id})


def _record_from_file(file: StoredFile) -> dict[str, Any]:
    return {
        "pk": build_partition_key(file.tenant),
        "sk": (_UPLOADED_PREFIX if file.is_uploaded else _PENDING_PREFIX) + file.id,
        "id": file.id,
        "tenant": file.tenant,
        "name": file.name,
        "content_type": file.content_type,
        "created_at": format_timestamp(file.created_at),
        "valid_until": format_timestamp(file.expires_at),
        "expires_at": int(file.expires_at.timestamp()),
        "size_bytes": file.size_bytes,
        "checksums": dict(file.checksums),
        "metadata": json.dumps(file.metadata),
        "multipart": asdict(file.multipart) if file.multipart else None,
    }


def _file_from_record(record: Mapping[str, Any]) -> StoredFile:
    multipart = record.get("multipart")
    return StoredFile(
        id=record["id"],
        tenant=record["tenant"],
        name=record["name"],
        content_type=record["content_type"],
        created_at=parse_timestamp(record["created_at"]),
        expires_at=parse_timestamp(record["valid_until"]),
        size_bytes=record.get("size_bytes"),
        checksums=record["checksums"],
        metadata=json.loads(record["metadata"]),
        multipart=build_from_stored(MultipartUpload, multipart) if multipart else None,
    )
