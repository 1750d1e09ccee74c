"""Operations on single items, and reads of many, of the simulation's DynamoDB."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.aws import JOBS_TABLE
from tests.support.aws_pair import ClientPair, outcome
from tests.support.dynamodb_requests import (
    ABSENT,
    ITEM,
    KEY,
    build_query,
    build_update,
    name_values,
    number_of,
    text,
)


@pytest.mark.parametrize(
    ("operation", "request_"),
    [
        ("update_item", build_update("SET n = :v", {"v": number_of(1)}, Key=ABSENT)),
        ("update_item", build_update("REMOVE m.k", {}, Key={"pk": text("no"), "sk": text("no map")})),
        (
            "update_item",
            build_update(
                "SET n = :v",
                {"v": number_of(1), "w": number_of(9)},
                ConditionExpression="n = :w",
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            ),
        ),
        ("delete_item", {"TableName": JOBS_TABLE, "Key": KEY, "ReturnValues": "ALL_OLD"}),
        ("delete_item", {"TableName": JOBS_TABLE, "Key": {"pk": text("x"), "sk": text("y")}}),
        (
            "delete_item",
            {
                "TableName": JOBS_TABLE,
                "Key": KEY,
                "ConditionExpression": "n = :v",
                **name_values({"v": number_of(1)}),
            },
        ),
        ("get_item", {"TableName": JOBS_TABLE, "Key": KEY}),
        (
            "get_item",
            {"TableName": JOBS_TABLE, "Key": KEY, "ConsistentRead": True, "ProjectionExpression": "n, m.k"},
        ),
        ("get_item", {"TableName": JOBS_TABLE, "Key": {"pk": text("x"), "sk": text("y")}}),
        ("get_item", {"TableName": "no_table", "Key": KEY}),
        ("put_item", {"TableName": "no_table", "Item": ITEM}),
        ("put_item", {"TableName": JOBS_TABLE, "Item": {"pk": text("a")}}),
        ("put_item", {"TableName": JOBS_TABLE, "Item": {"pk": text("a"), "sk": number_of(1)}}),
        ("put_item", {"TableName": JOBS_TABLE, "Item": {"pk": text("a" * 2049), "sk": text("b")}}),
        ("put_item", {"TableName": JOBS_TABLE, "Item": {"pk": text("a"), "sk": text("b" * 1025)}}),
        ("put_item", {"TableName": JOBS_TABLE, "Item": {"pk": text("a" * 2048), "sk": text("b" * 1024)}}),
        ("put_item", {"TableName": JOBS_TABLE, "Item": {**KEY, "x": text("y" * 409_600)}}),
        (
            "batch_get_item",
            {"RequestItems": {JOBS_TABLE: {"Keys": [KEY, {"pk": text("x"), "sk": text("y")}]}}},
        ),
        ("batch_get_item", {"RequestItems": {JOBS_TABLE: {"Keys": [KEY, KEY]}}}),
    ],
)
def test_item_operation_has_the_result_of_moto(
    dynamodb: ClientPair, operation: str, request_: dict[str, Any]
) -> None:
    dynamodb.call(operation, request_)


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ({"pk": text("a")}, "The provided key element does not match the schema"),
        ({"pk": text("a"), "sk": number_of(1)}, "The provided key element does not match the schema"),
        ({**KEY, "x": text("y")}, "The provided key element does not match the schema"),
        # Developer guide, "Naming rules and data types", String: a key must not be empty.
        ({"pk": text("a"), "sk": text("")}, "cannot contain an empty string value. Key: sk"),
        ({"pk": text("a" * 2049), "sk": text("b")}, "Size of hashkey has exceeded"),
        ({"pk": text("a"), "sk": text("ä" * 513)}, "size limit of 1024 bytes"),
    ],
)
def test_bad_key_is_refused_by_every_operation(dynamodb: ClientPair, key: Any, message: str) -> None:
    """AWS checks the keys of all requests; moto checks those of PutItem."""
    requests: dict[str, dict[str, Any]] = {
        "get_item": {"TableName": JOBS_TABLE, "Key": key},
        "delete_item": {"TableName": JOBS_TABLE, "Key": key},
        "update_item": build_update("REMOVE n", {}, Key=key),
        "batch_get_item": {"RequestItems": {JOBS_TABLE: {"Keys": [key]}}},
    }
    for operation, request in requests.items():
        result = outcome(dynamodb.simulated, operation, request)
        assert result["code"] == "ValidationException"
        assert message in result["message"]


def test_batch_get_returns_at_most_16_megabytes(dynamodb: ClientPair) -> None:
    keys = [{"pk": text("heavy"), "sk": text(str(number))} for number in range(50)]
    for key in keys:
        dynamodb.simulated.put_item(TableName=JOBS_TABLE, Item={**key, "t": text("y" * 400_000)})
    response = dynamodb.simulated.batch_get_item(RequestItems={JOBS_TABLE: {"Keys": keys}})
    processed = len(response["Responses"][JOBS_TABLE])
    assert processed == 16 * 1024 * 1024 // 400_018
    assert response["UnprocessedKeys"] == {JOBS_TABLE: {"Keys": keys[processed:]}}


@pytest.mark.parametrize(
    ("operation", "request_"),
    [
        ("put_item", {"TableName": JOBS_TABLE, "Item": ITEM, "Expected": {}}),
        ("put_item", {"TableName": JOBS_TABLE, "Item": ITEM, "ReturnValues": "UPDATED_NEW"}),
        ("query", build_query("pk = :p", {"p": text("q")}, ReturnConsumedCapacity="TOTAL")),
        ("scan", {"TableName": JOBS_TABLE}),
        ("transact_write_items", {"TransactItems": [{"Get": {"TableName": JOBS_TABLE, "Key": KEY}}]}),
        ("batch_get_item", {"RequestItems": {JOBS_TABLE: {"Keys": [KEY], "AttributesToGet": ["n"]}}}),
    ],
)
def test_what_is_not_handled_is_refused(
    dynamodb: ClientPair, operation: str, request_: dict[str, Any]
) -> None:
    with pytest.raises(NotImplementedError):
        getattr(dynamodb.simulated, operation)(**request_)
