"""The jobs table of template.yaml, for tests on moto."""

from __future__ import annotations

from typing import Any

JOBS_TABLE = "jobs"


def create_jobs_table(dynamodb: Any) -> None:
    attributes = ("pk", "sk", "tenant", "id", "due_shard", "next_check_at")
    dynamodb.create_table(
        TableName=JOBS_TABLE,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": "S"} for name in attributes],
        KeySchema=_build_key_schema("pk", "sk"),
        GlobalSecondaryIndexes=[
            _build_index("by_tenant", "tenant", "id"),
            _build_index("by_due", "due_shard", "next_check_at"),
        ],
    )


def _build_index(name: str, partition: str, sort: str) -> dict[str, Any]:
    return {
        "IndexName": name,
        "KeySchema": _build_key_schema(partition, sort),
        "Projection": {"ProjectionType": "KEYS_ONLY"},
    }


def _build_key_schema(partition: str, sort: str) -> list[dict[str, str]]:
    return [
        {"AttributeName": partition, "KeyType": "HASH"},
        {"AttributeName": sort, "KeyType": "RANGE"},
    ]
