"""Queries of the indexes of the jobs table that are sorted by ID, and so by the time of acceptance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from replicate_proxy.aws.dynamodb import from_item, to_value, translate_dynamodb_errors

if TYPE_CHECKING:
    from collections.abc import Sequence

    from types_boto3_dynamodb import DynamoDBClient

LOWEST_ID = "0"
HIGHEST_ID = "~"
"""Bounds that no ID reaches."""


def list_newest_in(
    client: DynamoDBClient,
    table: str,
    index: str,
    attribute: str,
    partitions: Sequence[str],
    *,
    low: str = LOWEST_ID,
    high: str = HIGHEST_ID,
    limit: int,
) -> list[dict[str, Any]]:
    """Return the newest entries of all partitions together, those with the IDs `low` and `high` included.

    `attribute` is the partition key of the index.
    """
    if low > high:
        return []
    entries: list[dict[str, Any]] = []
    for partition in partitions:
        with translate_dynamodb_errors("list newest entries"):
            response = client.query(
                TableName=table,
                IndexName=index,
                KeyConditionExpression="#partition = :partition AND id BETWEEN :low AND :high",
                ExpressionAttributeNames={"#partition": attribute},
                ExpressionAttributeValues={
                    ":partition": to_value(partition),
                    ":low": to_value(low),
                    ":high": to_value(high),
                },
                ScanIndexForward=False,
                Limit=limit,
            )
        entries += map(from_item, response["Items"])
    return sorted(entries, key=lambda entry: str(entry["id"]), reverse=True)[:limit]
