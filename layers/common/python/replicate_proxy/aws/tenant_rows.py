"""The rows of a tenant in one table, for its erasure: a scan, which finds also those that nothing names.

A scan of 1 MB is 256 read units of 4 kB (Amazon DynamoDB, "Read and write operations"). The functions
`classify_…` know the rows of each table: they return the kind of a row that is the tenant's, else None.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from replicate_proxy.aws.dynamodb import batch_delete, from_item, to_item, translate_dynamodb_errors
from replicate_proxy.aws.job_records import is_deletion
from replicate_proxy.clock import parse_timestamp
from replicate_proxy.operations.erasure.model import ErasurePage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_dynamodb.type_defs import ScanInputTypeDef

    type Record = Mapping[str, Any]
    type Classify = Callable[[Record, str, bool], str | None]

# The keys of a page are stored with the progress, in an item of at most 400 kB.
_PAGE_SIZE = 1000
# What may be read of a row: names, and no content.
_ATTRIBUTES = {"#pk": "pk", "#sk": "sk", "#tenant": "tenant", "#status": "status", "#final": "final_at"}


class DynamoTenantRows:
    """The TenantPlace port. `classify` gets a row, the tenant, and whether it is the last pass."""

    def __init__(self, client: DynamoDBClient, table: str, classify: Classify) -> None:
        self._client = client
        self._table = table
        self._classify = classify

    def read(self, tenant: str, cursor: str | None, *, is_last_pass: bool) -> ErasurePage:
        request: ScanInputTypeDef = {
            "TableName": self._table,
            "ProjectionExpression": ", ".join(_ATTRIBUTES),
            "ExpressionAttributeNames": _ATTRIBUTES,
            "ConsistentRead": True,
            "Limit": _PAGE_SIZE,
        }
        if cursor is not None:
            request["ExclusiveStartKey"] = to_item(json.loads(cursor))
        with translate_dynamodb_errors("scan for rows of tenant"):
            response = self._client.scan(**request)
        records = list(map(from_item, response["Items"]))
        found = {
            json.dumps(_extract_key(record)): kind
            for record in records
            if (kind := self._classify(record, tenant, is_last_pass)) is not None
        }
        kept = [
            parse_timestamp(record["final_at"])
            for record in records
            if is_deletion(record) and _get_owner(record) == tenant
        ]
        last_key = response.get("LastEvaluatedKey")
        return ErasurePage(
            tuple(found),
            tuple(found.values()),
            json.dumps(_extract_key(from_item(last_key))) if last_key else None,
            max(kept, default=None),
        )

    def remove(self, items: Sequence[str]) -> None:
        keys = [to_item(json.loads(item)) for item in items]
        batch_delete(self._client, self._table, keys, "delete rows of tenant")


def classify_delivery_row(record: Record, tenant: str, _is_last_pass: bool) -> str | None:
    """Return the kind of a row of the deliveries table."""
    prefix, rest = _split(record["pk"])
    name = _split(record["sk"])[0]
    if prefix == "TENANT" and rest == tenant:
        return {"ENDPOINT": "endpoints", "SECRET": "signing_secrets"}.get(name, "receivers")
    if prefix == "JOB" and _split(rest)[0] == tenant:
        return {"EVENT": "webhook_events", "DELIVERY": "deliveries"}.get(name, "delivery_attempts")
    return None


def classify_job_row(record: Record, tenant: str, is_last_pass: bool) -> str | None:
    """Return the kind of a row of the jobs table.

    Predictions and the records of deletions have none: the worker deletes predictions one by one, and the
    sweep removes the records.
    """
    prefix, rest = _split(record["pk"])
    match prefix:
        case "BATCH" if _split(rest)[0] == tenant:
            return "batches"
        case "IDEM" if _split(rest)[0] == tenant:
            return "idempotency_keys"
        case "PREDICTION" if is_last_pass and record.get("tenant") == tenant:
            return "prediction_claims"
        case "WAITING" if record.get("tenant") == tenant:
            return "places_in_line"
        case "BATCHES" if record["sk"].split("#")[1:2] == [tenant]:
            return "batch_marks"
        case _:
            return None


def classify_usage_row(record: Record, tenant: str, is_last_pass: bool) -> str | None:
    """Return the kind of a row of the table of usage. The sums stay."""
    prefix, rest = _split(record["pk"])
    match prefix:
        case "BUDGET" if rest == tenant:
            return "budgets"
        case "BATCH" if _split(rest)[0] == tenant:
            return "batch_counts"
        case "COUNTED" if is_last_pass and _split(rest)[0] == tenant:
            return "usage_marks"
        case _:
            return None


def classify_access_row(record: Record, tenant: str, _is_last_pass: bool) -> str | None:
    """Return the kind of a row of the access table. The tenant's own one is removed at the end."""
    prefix, rest = _split(record["pk"])
    if prefix == "KEYS" and record.get("tenant") == tenant:
        return "keys"
    return "file_records" if prefix == "FILES" and rest == tenant else None


def classify_control_row(record: Record, tenant: str, _is_last_pass: bool) -> str | None:
    """Return the kind of a row of the control table."""
    prefix, rest = _split(record["pk"])
    match prefix:
        case "LINK" if record.get("tenant") == tenant:
            return "console_links"
        case "PROGRESS" if _split(rest)[0] == tenant:
            return "progress_claims"
        case "SLOTS" if rest == f"tenant/{tenant}":
            return "slots"
        case "RATE" if rest == f"batches/{tenant}":
            return "rate_limits"
        case "WAIT" if _split(rest)[0] == f"tenant/{tenant}":
            return "counts_of_waiting_requests"
        case _:
            # What is known about its account at Replicate, see `Account.qualify`
            return "account_state" if f"@{tenant}/" in record["pk"] else None


def _split(text: str) -> tuple[str, str]:
    first, _, rest = text.partition("#")
    return first, rest


def _get_owner(record: Record) -> str:
    return _split(_split(record["pk"])[1])[0]


def _extract_key(record: Record) -> dict[str, str]:
    return {name: record[name] for name in ("pk", "sk") if name in record}
