"""The simulation's DynamoDB gives the responses and errors of moto; where moto is wrong, those of AWS."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from moto import mock_aws

from tests.support.aws import JOBS_TABLE, build_table, create_in_memory_aws, create_jobs_table
from tests.support.aws_pair import ClientPair, outcome
from tools.simulation.aws import InMemoryAws

if TYPE_CHECKING:
    from collections.abc import Iterator

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


@pytest.fixture(scope="module")
def clients() -> Iterator[ClientPair]:
    with mock_aws():
        pair = ClientPair(create_in_memory_aws().client("dynamodb"), create_jobs_table())
        for client in (pair.simulated, pair.moto):
            for number in range(QUERIED_COUNT):
                item = {"pk": text("q"), "sk": text(f"s{number}"), "n": number_of(number)}
                client.put_item(
                    TableName=JOBS_TABLE, Item={**item, "tenant": text("T"), "id": text(str(number))}
                )
            for number in range(6):
                item = {"pk": text("large"), "sk": text(f"s{number}"), "t": text("y" * 300_000)}
                client.put_item(TableName=JOBS_TABLE, Item=item)
        yield pair


@pytest.fixture
def dynamodb(clients: ClientPair) -> ClientPair:
    """Both clients, with ITEM as it was at the beginning."""
    for client in (clients.simulated, clients.moto):
        client.put_item(TableName=JOBS_TABLE, Item=ITEM)
    return clients


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


@pytest.mark.parametrize(
    ("condition", "values"),
    [
        ("attribute_exists(pk)", {}),
        ("attribute_not_exists(pk)", {}),
        ("n = :v", {"v": number_of(5)}),
        ("n = :v", {"v": number_of("5.0")}),
        ("n <> :v", {"v": number_of(5)}),
        ("absent <> :v", {"v": number_of(5)}),
        ("absent = :v", {"v": number_of(5)}),
        ("n = :v", {"v": text("5")}),
        ("n < :v", {"v": number_of(10)}),
        ("t > :v", {"v": text("a")}),
        ("n >= m.n", {}),
        ("t BETWEEN :a AND :b", {"a": text("a"), "b": text("z")}),
        ("n IN (:a, :b)", {"a": number_of(4), "b": number_of(5)}),
        ("begins_with(t, :v)", {"v": text("tex")}),
        ("begins_with(n, :v)", {"v": text("5")}),
        ("contains(t, :v)", {"v": text("ex")}),
        ("contains(ss, :v)", {"v": text("a")}),
        ("contains(ns, :v)", {"v": number_of(2)}),
        ("contains(l, :v)", {"v": text("x")}),
        ("size(t) = :v", {"v": number_of(4)}),
        ("size(l) = :v", {"v": number_of(2)}),
        ("size(m) < :v", {"v": number_of(3)}),
        ("attribute_type(t, :v)", {"v": text("S")}),
        ("attribute_type(t, :v)", {"v": text("N")}),
        ("NOT n = :v", {"v": number_of(5)}),
        ("n = :v AND (t = :w OR t = :x)", {"v": number_of(5), "w": text("no"), "x": text("text")}),
        ("n = :v OR attribute_exists(pk) AND t = :w", {"v": number_of(5), "w": text("no")}),
        ("(n = :v)", {"v": number_of(5)}),
        ("m.k = :v", {"v": text("v")}),
        ("m.absent.k = :v", {"v": text("v")}),
        ("l[0] = :v", {"v": number_of(1)}),
        ("l[9] = :v", {"v": number_of(1)}),
        ("ss = :v", {"v": {"SS": ["b", "a"]}}),
        ("l = :v", {"v": {"L": [number_of("1.0"), text("x")]}}),
        ("m = :v", {"v": {"M": {"n": number_of(1), "k": text("v")}}}),
        ("bo = :v", {"v": {"BOOL": True}}),
        ("nu = :v", {"v": {"NULL": True}}),
        ("by = :v", {"v": {"B": b"abc"}}),
        ("state = :v", {"v": number_of(1)}),
        ("((n = :v))", {"v": number_of(5)}),
    ],
)
def test_condition_has_the_result_of_moto(
    dynamodb: ClientPair, condition: str, values: dict[str, Any]
) -> None:
    dynamodb.call("put_item", build_put(condition, values))


@pytest.mark.parametrize(
    ("condition", "values", "names", "message"),
    [
        # Developer guide, "Condition and filter expressions, operators, and functions": operands of another
        # type than the attribute's do not match; moto compares their contents or fails.
        ("n < :v", {"v": text("6")}, {}, "The conditional request failed"),
        ("size(absent) < :v", {"v": number_of(3)}, {}, "The conditional request failed"),
        ("size(n) < :v", {"v": number_of(3)}, {}, "The conditional request failed"),
        # API reference, ComparisonOperator: only strings, numbers and binaries have an order.
        ("n < :v", {"v": {"L": []}}, {}, "Incorrect operand type"),
        ("begins_with(t, :v)", {"v": number_of(1)}, {}, "Incorrect operand type"),
        ("t BETWEEN :a AND :b", {"a": text("a"), "b": number_of(2)}, {}, "requires same data type"),
        (
            "t BETWEEN :a AND :b",
            {"a": text("z"), "b": text("a")},
            {},
            "upper bound to be greater than or equal",
        ),
        # Developer guide, "Expression attribute names (aliases)" and "Using expression attribute values":
        # DynamoDB requires that all placeholders are defined and used; moto checks some of them.
        ("n = :v", {}, {}, "not defined; attribute value: :v"),
        ("n = :w OR n = :v OR n = :x", {}, {}, "not defined; attribute value: :v"),
        ("#n = :v", {"v": number_of(5)}, {"#q": "n"}, "not defined; attribute name: #n"),
        ("attribute_exists(pk)", {"v": number_of(1)}, {}, "unused in expressions: keys: {:v}"),
        ("#n = :v", {"v": number_of(5)}, {"#n": "n", "#t": "t"}, "unused in expressions: keys: {#t}"),
        ("n = ", {}, {}, "Syntax error"),
        ("n == :v", {"v": number_of(5)}, {}, "Syntax error"),
        ("n = :v;", {"v": number_of(5)}, {}, "Syntax error"),
        ("", {}, {}, "can not be empty"),
        ("no_function(n)", {}, {}, "Invalid function name"),
        ("contains(t)", {}, {}, "Incorrect number of operands"),
    ],
)
def test_condition_has_the_result_of_aws_where_moto_differs(
    dynamodb: ClientPair, condition: str, values: dict[str, Any], names: dict[str, str], message: str
) -> None:
    options = {"ExpressionAttributeNames": names} if names else {}
    result = outcome(dynamodb.simulated, "put_item", build_put(condition, values, **options))
    assert message in result["message"]
    assert result["code"] in {"ValidationException", "ConditionalCheckFailedException"}


@pytest.mark.parametrize(
    ("expression", "values"),
    [
        ("SET n = :v", {"v": number_of(1)}),
        ("SET n = n + :v", {"v": number_of("1.5")}),
        ("SET n = n - :v, t = :w", {"v": number_of(1), "w": text("w")}),
        ("SET z = z + :v", {"v": number_of(1)}),
        ("SET z = if_not_exists(z, :v)", {"v": number_of(1)}),
        ("SET n = if_not_exists(n, :v)", {"v": number_of(1)}),
        ("SET z = if_not_exists(z, :v) + :v", {"v": number_of(1)}),
        ("SET l = list_append(l, :v)", {"v": {"L": [text("y")]}}),
        ("SET l = list_append(:v, l)", {"v": {"L": [text("y")]}}),
        ("SET z = list_append(if_not_exists(z, :e), :v)", {"e": {"L": []}, "v": {"L": [text("y")]}}),
        ("SET m.k = :v", {"v": text("new")}),
        ("SET m.z = :v", {"v": text("new")}),
        ("SET z.z = :v", {"v": text("new")}),
        ("SET l[0] = :v", {"v": text("new")}),
        ("SET l[9] = :v", {"v": text("new")}),
        ("SET z[0] = :v", {"v": text("new")}),
        ("REMOVE n", {}),
        ("REMOVE z", {}),
        ("REMOVE m.k", {}),
        ("REMOVE m.z", {}),
        ("REMOVE z.k", {}),
        ("REMOVE l[0]", {}),
        ("REMOVE l[0], l[1]", {}),
        ("REMOVE l[7]", {}),
        ("ADD n :v", {"v": number_of(2)}),
        ("ADD z :v", {"v": number_of(2)}),
        ("ADD t :v", {"v": number_of(2)}),
        ("DELETE ss :v", {"v": {"SS": ["a"]}}),
        ("DELETE ss :v", {"v": {"SS": ["a", "b"]}}),
        ("DELETE z :v", {"v": {"SS": ["a", "b"]}}),
        ("SET n = :v REMOVE t ADD cnt :v", {"v": number_of(3)}),
        ("SET a = n, n = :v", {"v": number_of(3)}),
        ("SET a = b, b = :v", {"v": number_of(3)}),
        ("SET pk = :v", {"v": text("x")}),
        ("REMOVE sk", {}),
        ("SET state = :v", {"v": number_of(3)}),
        ("SET x = :v", {"v": text("")}),
        ("SET due_shard = :v, next_check_at = :w", {"v": text("D"), "w": text("1")}),
        ("SET x = :v", {"v": text("y" * 409_600)}),
    ],
)
def test_update_has_the_result_of_moto(dynamodb: ClientPair, expression: str, values: dict[str, Any]) -> None:
    dynamodb.call("update_item", build_update(expression, values))


@pytest.mark.parametrize(
    ("expression", "values", "message"),
    [
        # Developer guide, "Update expressions": a path must lead to an attribute of a map or list.
        ("SET t.z = :v", {"v": text("new")}, "document path provided in the update expression is invalid"),
        # moto names the operand's type instead.
        ("SET n = t + :v", {"v": number_of(1)}, "incorrect data type"),
        ("SET l = list_append(l, :v)", {"v": text("y")}, "incorrect data type"),
        ("ADD n :v", {"v": text("2")}, "Incorrect operand type"),
        ("DELETE ss :v", {"v": text("a")}, "Incorrect operand type"),
        ("SET n = :v SET t = :v", {"v": number_of(3)}, 'The "SET" section can only be used once'),
        ("SET n = :v, n = :v", {"v": number_of(3)}, "Two document paths overlap"),
        ("SET m = :v REMOVE m.k", {"v": number_of(3)}, "Two document paths overlap"),
        ("", {}, "can not be empty"),
        ("SET z = size(n)", {}, "Invalid function name"),
        # Developer guide, "Data types" (numbers) and "Constraints" (sets); moto stores anything.
        ("SET n = :v", {"v": number_of("1" * 39)}, "more than 38 significant digits"),
        ("SET n = :v", {"v": number_of("abc")}, "cannot be converted to a numeric value"),
        ("SET n = :v", {"v": number_of("1E126")}, "Number overflow"),
        ("SET n = :v", {"v": number_of("1E-131")}, "Number underflow"),
        ("SET x = :v", {"v": {"SS": []}}, "set may not be empty"),
        ("SET x = :v", {"v": {"SS": ["a", "a"]}}, "contains duplicates"),
        ("SET due_shard = :v", {"v": number_of(1)}, "Type mismatch for Index Key due_shard"),
        ("SET due_shard = :v", {"v": text("")}, "cannot contain an empty string value"),
    ],
)
def test_update_raises_the_error_of_aws_where_moto_differs(
    dynamodb: ClientPair, expression: str, values: dict[str, Any], message: str
) -> None:
    result = outcome(dynamodb.simulated, "update_item", build_update(expression, values))
    assert result["code"] == "ValidationException"
    assert message in result["message"]
    assert dynamodb.simulated.get_item(TableName=JOBS_TABLE, Key=KEY)["Item"] == ITEM


@pytest.mark.parametrize(("written", "read"), [("1E2", "100"), ("1.500", "1.5"), ("-0", "0"), ("007", "7")])
def test_number_is_returned_in_canonical_form(dynamodb: ClientPair, written: str, read: str) -> None:
    """Leading and trailing zeros are trimmed (developer guide, "Data types", Number); moto keeps them."""
    request = build_update("SET n = :v, l = :l", {"v": number_of(written), "l": {"L": [number_of(written)]}})
    attributes = dynamodb.simulated.update_item(**request)["Attributes"]
    assert (attributes["n"], attributes["l"]) == (number_of(read), {"L": [number_of(read)]})


def test_added_set_elements_are_united(dynamodb: ClientPair) -> None:
    attributes = dynamodb.simulated.update_item(**build_update("ADD ss :v", {"v": {"SS": ["c", "a"]}}))[
        "Attributes"
    ]
    assert attributes["ss"] == {"SS": ["a", "b", "c"]}


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
