"""Queries of the simulation's DynamoDB."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.aws_pair import ClientPair, outcome
from tests.support.dynamodb_requests import QUERIED_COUNT, build_query, number_of, text


@pytest.mark.parametrize(
    ("condition", "values", "options"),
    [
        ("pk = :p", {}, {}),
        ("pk = :p AND sk = :s", {"s": text("s3")}, {}),
        *(
            (f"pk = :p AND sk {sign} :s", {"s": text("s3")}, {"ScanIndexForward": forward})
            for sign in ("<", "<=", ">", ">=")
            for forward in (True, False)
        ),
        ("pk = :p AND sk BETWEEN :a AND :b", {"a": text("s2"), "b": text("s4")}, {}),
        ("pk = :p AND begins_with(sk, :s)", {"s": text("s")}, {"ScanIndexForward": False}),
        ("pk = :p AND begins_with(sk, :s)", {"s": text("z")}, {}),
        ("sk = :s AND pk = :p", {"s": text("s3")}, {}),
        ("pk = :p", {}, {"Limit": 3}),
        ("pk = :p", {}, {"Limit": 11}),
        ("pk = :p", {}, {"Limit": 3, "ScanIndexForward": False}),
        ("pk = :p", {}, {"ExclusiveStartKey": {"pk": text("q"), "sk": text("s4")}, "Limit": 2}),
        (
            "pk = :p",
            {},
            {"ExclusiveStartKey": {"pk": text("q"), "sk": text("s4")}, "Limit": 2, "ScanIndexForward": False},
        ),
        ("pk = :p", {}, {"ExclusiveStartKey": {"pk": text("q"), "sk": text("s45")}, "Limit": 2}),
        ("pk = :p", {"n": number_of(2)}, {"FilterExpression": "n < :n", "Limit": 4}),
        ("pk = :p", {}, {"Select": "COUNT"}),
        ("pk = :p", {}, {"ProjectionExpression": "n"}),
        ("pk > :p", {}, {}),
        ("sk = :p", {}, {}),
        ("pk = :p AND n = :p", {}, {}),
        ("pk = :p", {"p": text("")}, {}),
        ("pk = :p", {"p": text("large")}, {}),
        ("pk = :p", {"p": text("large")}, {"ScanIndexForward": False}),
        ("tenant = :p", {"p": text("T")}, {"IndexName": "by_tenant"}),
        (
            "tenant = :p AND id BETWEEN :a AND :b",
            {"p": text("T"), "a": text("2"), "b": text("5")},
            {"IndexName": "by_tenant", "Limit": 2, "ScanIndexForward": False},
        ),
        (
            "tenant = :p",
            {"p": text("T")},
            {
                "IndexName": "by_tenant",
                "ExclusiveStartKey": {
                    "pk": text("q"),
                    "sk": text("s3"),
                    "tenant": text("T"),
                    "id": text("3"),
                },
            },
        ),
        ("tenant = :p", {"p": text("T")}, {"IndexName": "by_tenant", "ConsistentRead": True}),
    ],
)
def test_query_has_the_result_of_moto(
    dynamodb: ClientPair, condition: str, values: dict[str, Any], options: dict[str, Any]
) -> None:
    dynamodb.call("query", build_query(condition, {"p": text("q"), **values}, **options))


@pytest.mark.parametrize(
    ("condition", "values", "options", "message"),
    [
        (
            "pk = :p AND sk BETWEEN :a AND :b",
            {"a": text("s5"), "b": text("s4")},
            {},
            "upper bound to be greater than or equal to lower bound",
        ),
        ("pk = :p", {"p": number_of(1)}, {}, "Condition parameter type does not match schema type"),
        ("pk = :p OR sk = :p", {}, {}, "Invalid operator used in KeyConditionExpression"),
        ("pk = :p AND sk <> :s", {"s": text("x")}, {}, "Invalid operator used in KeyConditionExpression"),
        ("pk = :p AND sk = :s AND n = :p", {"s": text("x")}, {}, "Conditions can be of length 1 or 2 only"),
        ("pk = :p", {"z": text("z")}, {}, "unused in expressions: keys: {:z}"),
        ("pk = :p", {}, {"IndexName": "no_index"}, "does not have the specified index"),
        ("pk = :p", {}, {"ExclusiveStartKey": {"pk": text("q")}}, "The provided starting key is invalid"),
        # API reference, Query, FilterExpression: it cannot contain key attributes.
        ("pk = :p", {"s": text("s")}, {"FilterExpression": "sk < :s"}, "non-primary key attributes"),
    ],
)
def test_query_raises_the_error_of_aws_where_moto_differs(
    dynamodb: ClientPair, condition: str, values: dict[str, Any], options: dict[str, Any], message: str
) -> None:
    request = build_query(condition, {"p": text("q"), **values}, **options)
    result = outcome(dynamodb.simulated, "query", request)
    assert result["code"] == "ValidationException"
    assert message in result["message"]


def test_page_that_reaches_its_limit_has_a_last_key_although_nothing_follows(dynamodb: ClientPair) -> None:
    """A last key does not mean that more follows (API reference, Query); moto looks ahead."""
    page = dynamodb.simulated.query(**build_query("pk = :p", {"p": text("q")}, Limit=QUERIED_COUNT))
    assert page["LastEvaluatedKey"] == {"pk": text("q"), "sk": text("s9")}
    last_page = dynamodb.simulated.query(
        **build_query("pk = :p", {"p": text("q")}, ExclusiveStartKey=page["LastEvaluatedKey"])
    )
    assert (last_page["Items"], "LastEvaluatedKey" in last_page) == ([], False)


def test_paginator_returns_every_item_once(dynamodb: ClientPair) -> None:
    pages = dynamodb.simulated.get_paginator("query").paginate(
        **build_query("pk = :p", {"p": text("q")}, Limit=3)
    )
    assert [item["n"]["N"] for page in pages for item in page["Items"]] == [
        str(n) for n in range(QUERIED_COUNT)
    ]
