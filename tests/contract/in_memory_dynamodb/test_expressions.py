"""Condition and update expressions of the simulation's DynamoDB."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.aws import JOBS_TABLE
from tests.support.aws_pair import ClientPair, outcome
from tests.support.dynamodb_requests import ITEM, KEY, build_put, build_update, number_of, text


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
        # Developer guide, "Constraints in Amazon DynamoDB": an expression string has at most 4 kB.
        (f"n = :v{' ' * 4091}", {"v": number_of(5)}, {}, "Expression size has exceeded the maximum"),
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
