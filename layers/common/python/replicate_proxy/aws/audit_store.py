"""The audit trail in DynamoDB: a table of its own, which functions can only add records to.

| pk      | sk               | item                                                                        |
|---------|------------------|-----------------------------------------------------------------------------|
| CHAIN   | <at>#<sequence>  | a record; also in `by_action`, `by_key`, `by_tenant` and `by_target`, by sk |
| HEAD    | HEAD             | number, time and hash of the last record                                    |
| PENDING | <started at>#<id>| an intent, as JSON, until its record is written                             |
"""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any

from replicate_proxy.audit.model import AuditIntent, AuditRecord, ChainHead, build_position
from replicate_proxy.audit.ports import AuditPage
from replicate_proxy.aws.dynamodb import (
    batch_get_records,
    from_item,
    get_record,
    iterate_records,
    to_item,
    to_value,
    translate_dynamodb_errors,
)
from replicate_proxy.aws.errors import list_cancellation_codes
from replicate_proxy.errors import ConflictError, DuplicateError
from replicate_proxy.stored_fields import build_from_stored

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_dynamodb.type_defs import QueryInputTypeDef, TransactWriteItemTypeDef

    from replicate_proxy.audit.model import AuditFilter


_CHAIN, _HEAD, _PENDING = "CHAIN", "HEAD", "PENDING"
# The index of each filter, the most selective first. Other filters are applied to what was read.
_INDEXES = {"target": "by_target", "key_id": "by_key", "tenant": "by_tenant", "action": "by_action"}
_MAX_READS_PER_PAGE = 5
_RECORD_FIELDS = tuple(field.name for field in fields(AuditRecord))


class DynamoAuditStore:
    """The ports AuditStore and AuditReader."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._client = client
        self._table = table

    def begin(self, intent: AuditIntent) -> None:
        with translate_dynamodb_errors("store audit intent"):
            self._client.put_item(
                TableName=self._table,
                Item=to_item({**_intent_key(intent), "intent": json.dumps(asdict(intent))}),
            )

    def list_abandoned(self, *, before: str, limit: int) -> list[AuditIntent]:
        with translate_dynamodb_errors("list audit intents"):
            response = self._client.query(
                TableName=self._table,
                KeyConditionExpression="pk = :pk AND sk < :before",
                ExpressionAttributeValues={":pk": to_value(_PENDING), ":before": to_value(before)},
                ConsistentRead=True,
                Limit=limit,
            )
        stored = [json.loads(from_item(item)["intent"]) for item in response["Items"]]
        return [build_from_stored(AuditIntent, intent) for intent in stored]

    def read_head(self) -> ChainHead:
        key = {"pk": _HEAD, "sk": _HEAD}
        record = get_record(self._client, self._table, key, "read audit head")
        return ChainHead(record["sequence"], record["at"], record["hash"]) if record else ChainHead()

    def append(self, record: AuditRecord) -> None:
        try:
            with translate_dynamodb_errors("append audit record"):
                self._client.transact_write_items(
                    TransactItems=[
                        self._build_put(record),
                        self._build_head_update(record),
                        self._build_intent_removal(record),
                    ]
                )
        except ConflictError as conflict:
            if list_cancellation_codes(conflict.__cause__)[2:3] == ["ConditionalCheckFailed"]:
                raise DuplicateError(f"the record of {record.id} is written") from conflict
            raise

    def list_records(
        self, audit_filter: AuditFilter, *, before_position: str | None, limit: int
    ) -> AuditPage:
        records: list[AuditRecord] = []
        position = before_position
        for _ in range(_MAX_READS_PER_PAGE):
            read, has_more = self._read_newest(audit_filter, position, limit)
            matching = [record for record in read if audit_filter.matches(record)]
            kept = matching[: limit - len(records)]
            records += kept
            if len(kept) < len(matching):
                return AuditPage(tuple(records), build_position(kept[-1]))
            if not has_more:
                return AuditPage(tuple(records), None)
            position = build_position(read[-1])
            if len(records) == limit:
                break
        return AuditPage(tuple(records), position)

    def list_chain(self, *, after_position: str | None, limit: int) -> list[AuditRecord]:
        request: QueryInputTypeDef = {
            "TableName": self._table,
            "KeyConditionExpression": "pk = :pk AND sk > :after",
            "ExpressionAttributeValues": {":pk": to_value(_CHAIN), ":after": to_value(after_position or "0")},
            "ConsistentRead": True,
        }
        records = iterate_records(self._client, request, "list audit chain", limit=limit)
        return list(map(_record_from_stored, records))

    def _read_newest(
        self, audit_filter: AuditFilter, before: str | None, limit: int
    ) -> tuple[list[AuditRecord], bool]:
        """Return at most `limit` records before a position, newest first, and whether others follow."""
        high = min(filter(None, (before, audit_filter.until)), default="~")
        low = audit_filter.since or "0"
        if low > high:
            return [], False
        request: QueryInputTypeDef = {
            "TableName": self._table,
            "KeyConditionExpression": "#pk = :pk AND sk BETWEEN :low AND :high",
            "ExpressionAttributeNames": {"#pk": "pk"},
            "ExpressionAttributeValues": {
                ":pk": to_value(_CHAIN),
                ":low": to_value(low),
                ":high": to_value(high),
            },
            "ScanIndexForward": False,
            # BETWEEN includes the position itself: read one more for that.
            "Limit": limit + 1,
        }
        selected = next((name for name in _INDEXES if getattr(audit_filter, name) is not None), None)
        if selected is not None:
            request["IndexName"] = _INDEXES[selected]
            request["ExpressionAttributeNames"] = {"#pk": selected}
            values = dict(request["ExpressionAttributeValues"])
            request["ExpressionAttributeValues"] = {
                **values,
                ":pk": to_value(getattr(audit_filter, selected)),
            }
        with translate_dynamodb_errors("list audit records"):
            response = self._client.query(**request)
        found = [from_item(item) for item in response["Items"]]
        has_more = "LastEvaluatedKey" in response
        if selected is not None:
            found = self._read_in_order(found)
        records = [_record_from_stored(record) for record in found if record["sk"] != before]
        return records, has_more and bool(records)

    def _read_in_order(self, found: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Return the records of index entries, which hold keys only."""
        keys = [to_item({"pk": record["pk"], "sk": record["sk"]}) for record in found]
        records = batch_get_records(self._client, self._table, keys, "read audit records")
        return sorted(records, key=lambda record: str(record["sk"]), reverse=True)

    def _build_put(self, record: AuditRecord) -> TransactWriteItemTypeDef:
        return {
            "Put": {
                "TableName": self._table,
                "Item": to_item({"pk": _CHAIN, "sk": build_position(record), **asdict(record)}),
                "ConditionExpression": "attribute_not_exists(pk)",
            }
        }

    def _build_head_update(self, record: AuditRecord) -> TransactWriteItemTypeDef:
        values: dict[str, str | int] = {":new": record.sequence, ":at": record.at, ":hash": record.hash}
        condition = "attribute_not_exists(pk)"
        if record.sequence > 1:
            values[":old"] = record.sequence - 1
            condition = "#sequence = :old"
        return {
            "Update": {
                "TableName": self._table,
                "Key": to_item({"pk": _HEAD, "sk": _HEAD}),
                "UpdateExpression": "SET #sequence = :new, #at = :at, #hash = :hash",
                "ConditionExpression": condition,
                "ExpressionAttributeNames": {"#sequence": "sequence", "#at": "at", "#hash": "hash"},
                "ExpressionAttributeValues": {name: to_value(value) for name, value in values.items()},
            }
        }

    def _build_intent_removal(self, record: AuditRecord) -> TransactWriteItemTypeDef:
        return {
            "Delete": {
                "TableName": self._table,
                "Key": to_item(_intent_key(record)),
                "ConditionExpression": "attribute_exists(pk)",
            }
        }


def _intent_key(intent: AuditIntent) -> dict[str, str]:
    return {"pk": _PENDING, "sk": f"{intent.started_at}#{intent.id}"}


def _record_from_stored(stored: Mapping[str, Any]) -> AuditRecord:
    """Return the record; attributes without a value are not stored."""
    values: dict[str, Any] = {name: stored.get(name) for name in _RECORD_FIELDS}
    return AuditRecord(**values)
