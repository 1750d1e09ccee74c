"""The tables of template.yaml for tests on moto, and clients whose responses a test chooses."""

from __future__ import annotations

import time
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Any

import boto3
from botocore.exceptions import ClientError
from botocore.stub import Stubber

from tools.simulation.aws import InMemoryAws

if TYPE_CHECKING:
    from collections.abc import Iterator

    from types_boto3_dynamodb import DynamoDBClient
    from types_boto3_dynamodb.type_defs import (
        CreateTableInputTypeDef,
        KeySchemaElementTypeDef,
        ProjectionTypeDef,
    )
    from types_boto3_s3 import S3Client

JOBS_TABLE = "jobs"
DELIVERIES_TABLE = "deliveries"
ACCESS_TABLE = "access"
CONTROL_TABLE = "control"
USAGE_TABLE = "usage"
AUDIT_TABLE = "audit"

_KEYS = {
    JOBS_TABLE: ("pk", "sk"),
    DELIVERIES_TABLE: ("pk", "sk"),
    ACCESS_TABLE: ("pk", "sk"),
    CONTROL_TABLE: ("pk",),
    USAGE_TABLE: ("pk", "sk"),
    AUDIT_TABLE: ("pk", "sk"),
}
_INDEXES = {
    JOBS_TABLE: {
        "by_tenant": ("tenant", "id"),
        "by_due": ("due_shard", "next_check_at"),
        "by_time": ("list_name", "id"),
        "by_outcome": ("outcome", "id"),
    },
    DELIVERIES_TABLE: {"by_due": ("due_shard", "due_at"), "by_target": ("target_key", "at")},
    USAGE_TABLE: {"by_day": ("day", "pk")},
    AUDIT_TABLE: {
        "by_action": ("action", "sk"),
        "by_key": ("key_id", "sk"),
        "by_tenant": ("tenant", "sk"),
        "by_target": ("target", "sk"),
    },
}
# What indexes hold besides keys
_PROJECTED = {(JOBS_TABLE, "by_due"): "status", (JOBS_TABLE, "by_outcome"): "end_reason"}


@contextmanager
def stub_s3() -> Iterator[tuple[S3Client, Stubber]]:
    """Yield a client, and the stub that holds S3's responses in order, all of which must be used."""
    client = boto3.client("s3")
    with Stubber(client) as stub:
        yield client, stub
        stub.assert_no_pending_responses()


def create_jobs_table() -> DynamoDBClient:
    """Create the table and return a client."""
    return _create_table(JOBS_TABLE)


def create_deliveries_table() -> DynamoDBClient:
    """Create the table and return a client."""
    return _create_table(DELIVERIES_TABLE)


def create_access_table() -> DynamoDBClient:
    """Create the table and return a client."""
    return _create_table(ACCESS_TABLE)


def create_control_table() -> DynamoDBClient:
    """Create the table and return a client."""
    return _create_table(CONTROL_TABLE)


def create_usage_table() -> DynamoDBClient:
    """Create the table and return a client."""
    return _create_table(USAGE_TABLE)


def create_audit_table() -> DynamoDBClient:
    """Create the table and return a client."""
    return _create_table(AUDIT_TABLE)


def create_in_memory_aws() -> InMemoryAws:
    """Return the simulation's AWS with all tables, at the real time."""
    aws = InMemoryAws(time.time)
    for name in _KEYS:
        aws.dynamodb.create_table(build_table(name))
    return aws


def make_client_error(code: str) -> ClientError:
    """Return the error that boto3 raises for an error response with this code."""
    return ClientError({"Error": {"Code": code, "Message": "made by a test"}}, "Operation")


def make_failing_client(error: Exception) -> Any:
    """Return a client that raises the error from every call."""
    return _FailingClient(error)


class _FailingClient:
    def __init__(self, error: Exception) -> None:
        self._error = error

    def __getattr__(self, _: str) -> Any:
        def fail(*_: object, **__: object) -> None:
            raise self._error

        return fail


def build_table(name: str) -> CreateTableInputTypeDef:
    """Return a table. All key attributes are strings."""
    key, indexes = _KEYS[name], _INDEXES.get(name, {})
    request: CreateTableInputTypeDef = {
        "TableName": name,
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [
            {"AttributeName": attribute, "AttributeType": "S"}
            for attribute in dict.fromkeys(chain(key, *indexes.values()))
        ],
        "KeySchema": _build_key_schema(*key),
    }
    if indexes:
        request["GlobalSecondaryIndexes"] = [
            {
                "IndexName": index,
                "KeySchema": _build_key_schema(*index_key),
                "Projection": _build_projection(name, index),
            }
            for index, index_key in indexes.items()
        ]
    return request


def _build_projection(table: str, index: str) -> ProjectionTypeDef:
    attribute = _PROJECTED.get((table, index))
    if attribute is None:
        return {"ProjectionType": "KEYS_ONLY"}
    return {"ProjectionType": "INCLUDE", "NonKeyAttributes": [attribute]}


def _create_table(name: str) -> DynamoDBClient:
    client = boto3.client("dynamodb")
    client.create_table(**build_table(name))
    return client


def _build_key_schema(partition: str, sort: str | None = None) -> list[KeySchemaElementTypeDef]:
    schema: list[KeySchemaElementTypeDef] = [{"AttributeName": partition, "KeyType": "HASH"}]
    return [*schema, {"AttributeName": sort, "KeyType": "RANGE"}] if sort else schema
