"""The jobs table as template.yaml makes it, for tests on moto."""

from __future__ import annotations

from typing import Any

JOBS_TABLE = "jobs"


def create_jobs_table(dynamodb: Any) -> None:
    """Keys and indexes of `JobsTable`."""
    strings = ("pk", "sk", "tenant", "id", "due_shard", "next_check_at")
    dynamodb.create_table(
        TableName=JOBS_TABLE,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in strings],
        KeySchema=_keys("pk", "sk"),
        GlobalSecondaryIndexes=[
            _index("by_tenant", "tenant", "id"),
            _index("by_due", "due_shard", "next_check_at"),
        ],
    )


def _index(name: str, partition: str, sort: str) -> dict[str, Any]:
    return {
        "IndexName": name,
        "KeySchema": _keys(partition, sort),
        "Projection": {"ProjectionType": "KEYS_ONLY"},
    }


def _keys(partition: str, sort: str) -> list[dict[str, str]]:
    return [
        {"AttributeName": partition, "KeyType": "HASH"},
        {"AttributeName": sort, "KeyType": "RANGE"},
    ]
