"""Build requests of DynamoDB, and the items that they are about."""

from __future__ import annotations

from typing import Any

from tests.support.aws import JOBS_TABLE

KEY: Any = {"pk": {"S": "a"}, "sk": {"S": "b"}}
ITEM: Any = {
    **KEY,
    "n": {"N": "5"},
    "t": {"S": "text"},
    "l": {"L": [{"N": "1"}, {"S": "x"}]},
    "m": {"M": {"k": {"S": "v"}, "n": {"N": "1"}}},
    "ss": {"SS": ["a", "b"]},
    "ns": {"NS": ["1", "2"]},
    "bo": {"BOOL": True},
    "nu": {"NULL": True},
    "by": {"B": b"abc"},
}
ABSENT: Any = {"pk": {"S": "no"}, "sk": {"S": "no"}}
QUERIED_COUNT = 10


def text(value: str) -> dict[str, str]:
    return {"S": value}


def number_of(value: object) -> dict[str, str]:
    return {"N": str(value)}


def name_values(values: dict[str, Any]) -> dict[str, Any]:
    """Return the parameter for these values; an empty parameter would be an error."""
    return (
        {"ExpressionAttributeValues": {f":{name}": value for name, value in values.items()}} if values else {}
    )


def build_put(condition: str, values: dict[str, Any], **options: Any) -> dict[str, Any]:
    return {
        "TableName": JOBS_TABLE,
        "Item": ITEM,
        "ConditionExpression": condition,
        "ReturnValues": "ALL_OLD",
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        **name_values(values),
        **options,
    }


def build_update(expression: str, values: dict[str, Any], **options: Any) -> dict[str, Any]:
    return {
        "TableName": JOBS_TABLE,
        "Key": KEY,
        "UpdateExpression": expression,
        "ReturnValues": "ALL_NEW",
        **name_values(values),
        **options,
    }


def build_query(condition: str, values: dict[str, Any], **options: Any) -> dict[str, Any]:
    request = {"TableName": JOBS_TABLE, "KeyConditionExpression": condition}
    return {**request, **name_values(values), **options}
