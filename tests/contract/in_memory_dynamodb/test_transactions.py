"""Transactions of the simulation's DynamoDB."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.aws import JOBS_TABLE, build_table, create_in_memory_aws
from tests.support.aws_pair import ClientPair, outcome
from tests.support.dynamodb_requests import ITEM, KEY, name_values, number_of, text
from tools.simulation.aws import InMemoryAws

NEW_PUT: Any = {
    "Put": {
        "TableName": JOBS_TABLE,
        "Item": {"pk": text("new"), "sk": text("new")},
        "ConditionExpression": "attribute_not_exists(pk)",
    }
}
FAILING_PUT: Any = {
    "Put": {
        "TableName": JOBS_TABLE,
        "Item": ITEM,
        "ConditionExpression": "attribute_not_exists(pk)",
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }
}
UPDATE: Any = {
    "Update": {
        "TableName": JOBS_TABLE,
        "Key": KEY,
        "UpdateExpression": "SET n = :v",
        **name_values({"v": number_of(9)}),
    }
}
CHECK: Any = {
    "ConditionCheck": {
        "TableName": JOBS_TABLE,
        "Key": {"pk": text("x"), "sk": text("y")},
        "ConditionExpression": "attribute_not_exists(pk)",
    }
}


@pytest.mark.parametrize(
    "items",
    [
        [UPDATE, CHECK],
        [NEW_PUT, FAILING_PUT],
        [NEW_PUT, NEW_PUT],
        [
            {
                "Delete": {
                    "TableName": JOBS_TABLE,
                    "Key": KEY,
                    "ConditionExpression": "n = :v",
                    **name_values({"v": number_of(1)}),
                }
            },
            CHECK,
        ],
    ],
)
def test_transaction_has_the_result_of_moto(dynamodb: ClientPair, items: list[Any]) -> None:
    dynamodb.call("transact_write_items", {"TransactItems": items})
    for key in (KEY, NEW_PUT["Put"]["Item"]):
        dynamodb.call("get_item", {"TableName": JOBS_TABLE, "Key": key, "ConsistentRead": True})


def test_transaction_with_impossible_update_is_canceled(dynamodb: ClientPair) -> None:
    """API reference, TransactWriteItems: the reason is ValidationError; moto fails as UpdateItem does."""
    update = {"Update": {**UPDATE["Update"], "UpdateExpression": "SET z.z = :v"}}
    result = outcome(dynamodb.simulated, "transact_write_items", {"TransactItems": [NEW_PUT, update]})
    assert result["code"] == "TransactionCanceledException"
    assert [reason["Code"] for reason in result["CancellationReasons"]] == ["None", "ValidationError"]
    assert "Item" not in dynamodb.simulated.get_item(TableName=JOBS_TABLE, Key=NEW_PUT["Put"]["Item"])


def test_transaction_has_at_most_100_items(dynamodb: ClientPair) -> None:
    puts = [
        {"Put": {"TableName": JOBS_TABLE, "Item": {"pk": text("many"), "sk": text(str(number))}}}
        for number in range(101)
    ]
    for client in (dynamodb.simulated, dynamodb.moto):
        assert (
            outcome(client, "transact_write_items", {"TransactItems": puts})["code"] == "ValidationException"
        )


def test_repeated_transaction_with_the_same_token_is_not_carried_out_again() -> None:
    """API reference, TransactWriteItems, ClientRequestToken: it is idempotent for ten minutes."""
    now = [0.0]
    aws = InMemoryAws(lambda: now[0])
    aws.dynamodb.create_table(build_table(JOBS_TABLE))
    client = aws.client("dynamodb")
    request = {"TransactItems": [NEW_PUT], "ClientRequestToken": "token"}
    client.transact_write_items(**request)
    now[0] = 599
    client.transact_write_items(**request)
    other = {"TransactItems": [CHECK], "ClientRequestToken": "token"}
    assert outcome(client, "transact_write_items", other)["code"] == "IdempotentParameterMismatchException"
    now[0] = 600
    assert outcome(client, "transact_write_items", request)["code"] == "TransactionCanceledException"


def test_transaction_performed_twice_by_the_gate_is_carried_out_once() -> None:
    """The SDK adds a token, so that its repetitions of a request are recognized."""
    aws = create_in_memory_aws()

    def perform_twice(_: Any, perform: Any) -> Any:
        perform()
        return perform()

    aws.gate = perform_twice
    aws.client("dynamodb").transact_write_items(TransactItems=[NEW_PUT])
    assert (aws.dynamodb.tables[JOBS_TABLE].items.keys()) == {("new", "new")}
