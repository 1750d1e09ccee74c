"""Queries of the indexes of the jobs table that are sorted by ID, and so by the time of acceptance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from replicate_proxy.aws.dynamodb import from_item, to_value, translate_dynamodb_errors

if TYPE_CHECKING:
    from types_boto3_dynamodb import DynamoDBClient

LOWEST_ID = "0"
HIGHEST_ID = "~"
"""Bounds that no ID reaches."""


def list_newest_in(
    client: DynamoDBClient,
    table: str,
    index: str,
    attribute: str,
    partition: str,
    *,
    low: str = LOWEST_ID,
    high: str = HIGHEST_ID,
    limit: int,
) -> list[dict[str, Any]]:
    """Return the newest entries of a partition, those with the IDs `low` and `high` included.

    `attribute` is the partition key of the index.
    """
    if low > high:
        return []
    condition, bounds = _build_condition(low, high)
    with translate_dynamodb_errors("list newest entries"):
        response = client.query(
            TableName=table,
            IndexName=index,
            KeyConditionExpression=condition,
            ExpressionAttributeNames={"#partition": attribute},
            ExpressionAttributeValues={":partition": to_value(partition), **bounds},
            ScanIndexForward=False,
            Limit=limit,
        )
    return [from_item(item) for item in response["Items"]]


def list_older_in(
    client: DynamoDBClient,
    table: str,
    index: str,
    attribute: str,
    partition: str,
    *,
    before_id: str | None,
    min_id: str | None = None,
    limit: int,
) -> list[dict[str, Any]]:
    """Return the newest entries from `min_id` on and before `before_id`, which is not included."""
    # The bounds of the query are included: read one more for `before_id`.
    low, high = min_id or LOWEST_ID, before_id or HIGHEST_ID
    found = list_newest_in(client, table, index, attribute, partition, low=low, high=high, limit=limit + 1)
    return [entry for entry in found if entry["id"] != before_id][:limit]


def _build_condition(low: str, high: str) -> tuple[str, dict[str, Any]]:
    """Return the key condition and the values of its bounds, without those that no ID reaches."""
    condition, bounds = "#partition = :partition", {":low": to_value(low), ":high": to_value(high)}
    if low == LOWEST_ID:
        del bounds[":low"]
    if high == HIGHEST_ID:
        del bounds[":high"]
    if len(bounds) == 2:  # noqa: PLR2004 - both
        return f"{condition} AND id BETWEEN :low AND :high", bounds
    comparison = " AND id >= :low" if ":low" in bounds else " AND id <= :high" if bounds else ""
    return condition + comparison, bounds
