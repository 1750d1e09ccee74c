"""Conditions, filters and key conditions as functions that are built once for each expression.

A compiled condition takes an item, the names and the values of a request. An attribute that is missing or has
another type makes a comparison false, but `<>` true (Amazon DynamoDB developer guide, "Condition and filter
expressions, operators, and functions").
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

from tools.simulation.aws.dynamodb.syntax import (
    Between,
    Comparison,
    FunctionCall,
    In,
    Junction,
    Not,
    Path,
    ValueName,
    parse_condition,
)
from tools.simulation.aws.dynamodb.values import is_equal, kind_of, text_bytes, to_scalar
from tools.simulation.aws.errors import validation_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tools.simulation.aws.dynamodb.syntax import Condition, Operand
    from tools.simulation.aws.dynamodb.values import Item, Value

type Names = Mapping[str, str]
type Values = Mapping[str, Value]
type Test = Callable[[Item, Names, Values], bool]
type Read = Callable[[Item, Names, Values], Value | None]

_ORDERED = frozenset({"S", "N", "B"})
_ORDERINGS: Mapping[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True, slots=True)
class CompiledCondition:
    """A condition with the placeholders and attributes it uses. `check` validates the types of the values."""

    test: Test
    names: frozenset[str]
    values: frozenset[str]
    attributes: frozenset[str]
    check: Callable[[Values], None]


@lru_cache(maxsize=1024)
def compile_condition(text: str, kind: str = "ConditionExpression") -> CompiledCondition:
    parsed = parse_condition(text, kind)
    checks = tuple(_find_checks(parsed.tree, kind))

    def check(values: Values) -> None:
        for check_values in checks:
            check_values(values)

    return CompiledCondition(_compile(parsed.tree), parsed.names, parsed.values, parsed.attributes, check)


def resolve_path(path: Path, names: Names) -> tuple[str | int, ...]:
    return tuple([names[part] if isinstance(part, str) and part[0] == "#" else part for part in path.parts])


def compile_operand(operand: Operand) -> Read:
    match operand:
        case ValueName(name):
            return lambda _, __, values: values[name]
        case Path((str(name),)) if name[0] == "#":
            return lambda item, names, _: item.get(names[name])
        case Path((str(name),)):
            return lambda item, _, __: item.get(name)
        case Path():
            path = operand
            return lambda item, names, _: get_at(item, resolve_path(path, names))
        case FunctionCall("size", (argument,)):
            return _compile_size(compile_operand(argument))
    raise NotImplementedError(f"operand {operand}")


def get_at(item: Item, path: tuple[str | int, ...]) -> Value | None:
    """Return the value at a resolved path, None if there is none."""
    value = item.get(str(path[0]))
    for part in path[1:]:
        if value is None:
            return None
        if isinstance(part, int):
            entries = value.get("L", ())
            value = entries[part] if part < len(entries) else None
        else:
            value = value.get("M", {}).get(part)
    return value


def _compile_size(read: Read) -> Read:
    def size(item: Item, names: Names, values: Values) -> Value | None:
        value = read(item, names, values)
        if value is None:
            return None
        ((kind, content),) = value.items()
        if kind in {"N", "BOOL", "NULL"}:
            return None
        return {"N": str(text_bytes(content) if kind == "S" else len(content))}

    return size


def _compile(condition: Condition) -> Test:
    match condition:
        case Comparison(sign, left, right):
            return _compile_comparison(sign, compile_operand(left), compile_operand(right))
        case Between(operand, low, high):
            at_least = _compile_comparison(">=", compile_operand(operand), compile_operand(low))
            at_most = _compile_comparison("<=", compile_operand(operand), compile_operand(high))
            return lambda item, names, values: at_least(item, names, values) and at_most(item, names, values)
        case In(operand, options):
            tests = [
                _compile_comparison("=", compile_operand(operand), compile_operand(option))
                for option in options
            ]
            return lambda item, names, values: any(test(item, names, values) for test in tests)
        case Not(inner):
            negated = _compile(inner)
            return lambda item, names, values: not negated(item, names, values)
        case Junction(word, conditions):
            return _compile_junction(word, [_compile(part) for part in conditions])
        case FunctionCall(name, arguments):
            return _compile_predicate(name, [compile_operand(argument) for argument in arguments])


def _compile_junction(word: str, tests: list[Test]) -> Test:
    if len(tests) == 2:
        first, second = tests
        if word == "AND":
            return lambda item, names, values: first(item, names, values) and second(item, names, values)
        return lambda item, names, values: first(item, names, values) or second(item, names, values)
    if word == "AND":
        return lambda item, names, values: all(test(item, names, values) for test in tests)
    return lambda item, names, values: any(test(item, names, values) for test in tests)


def _compile_comparison(sign: str, left: Read, right: Read) -> Test:
    if sign in {"=", "<>"}:
        return _compile_equality(left, right, negated=sign == "<>")
    compare = _ORDERINGS[sign]

    def test(item: Item, names: Names, values: Values) -> bool:
        left_value, right_value = left(item, names, values), right(item, names, values)
        if left_value is None or right_value is None:
            return False
        kind = kind_of(left_value)
        if kind not in right_value or kind not in _ORDERED:
            return False
        return compare(to_scalar(left_value), to_scalar(right_value))

    return test


def _compile_equality(left: Read, right: Read, *, negated: bool) -> Test:
    def test(item: Item, names: Names, values: Values) -> bool:
        left_value, right_value = left(item, names, values), right(item, names, values)
        if left_value is None or right_value is None:
            return negated
        return is_equal(left_value, right_value) is not negated

    return test


def _compile_predicate(name: str, reads: list[Read]) -> Test:
    first = reads[0]
    if name == "attribute_exists":
        return lambda item, names, values: first(item, names, values) is not None
    if name == "attribute_not_exists":
        return lambda item, names, values: first(item, names, values) is None
    second = reads[1]
    predicate = {"begins_with": _begins_with, "contains": _contains, "attribute_type": _has_type}[name]

    def test(item: Item, names: Names, values: Values) -> bool:
        value, argument = first(item, names, values), second(item, names, values)
        return value is not None and argument is not None and predicate(value, argument)

    return test


def _begins_with(value: Value, prefix: Value) -> bool:
    kind = kind_of(value)
    return kind in {"S", "B"} and kind in prefix and value[kind].startswith(prefix[kind])


def _contains(value: Value, wanted: Value) -> bool:
    ((kind, content),) = value.items()
    if kind in {"S", "B"}:
        return bool(kind in wanted and wanted[kind] in content)
    if kind in {"SS", "NS", "BS"}:
        return kind[0] in wanted and any(is_equal({kind[0]: member}, wanted) for member in content)
    return kind == "L" and any(is_equal(entry, wanted) for entry in content)


def _has_type(value: Value, wanted: Value) -> bool:
    return kind_of(value) == wanted.get("S")


def _find_checks(condition: Condition, kind: str) -> Iterator[Callable[[Values], None]]:
    """Yield the checks of values whose type does not fit, which DynamoDB makes before it reads the item."""
    match condition:
        case Comparison(sign, left, right) if sign in _ORDERINGS:
            yield from _check_kinds((left, right), sign, kind, _ORDERED)
        case Between(operand, low, high):
            yield from _check_kinds((operand, low, high), "BETWEEN", kind, _ORDERED)
            if isinstance(low, ValueName) and isinstance(high, ValueName):
                yield _check_bounds(low.name, high.name, kind)
        case FunctionCall("begins_with", arguments):
            yield from _check_kinds(arguments, "begins_with", kind, frozenset({"S", "B"}))
        case FunctionCall("attribute_type", (_, argument)):
            yield from _check_kinds((argument,), "attribute_type", kind, frozenset({"S"}))
        case Not(inner):
            yield from _find_checks(inner, kind)
        case Junction(_, conditions):
            for part in conditions:
                yield from _find_checks(part, kind)


def _check_kinds(
    operands: tuple[Operand, ...], name: str, expression_kind: str, allowed: frozenset[str]
) -> Iterator[Callable[[Values], None]]:
    def check(value_name: str, values: Values) -> None:
        kind = kind_of(values[value_name])
        if kind not in allowed:
            raise validation_error(
                f"Invalid {expression_kind}: Incorrect operand type for operator or function; operator or"
                f" function: {name}, operand type: {kind}"
            )

    for operand in operands:
        if isinstance(operand, ValueName):
            yield partial(check, operand.name)


def _check_bounds(low_name: str, high_name: str, expression_kind: str) -> Callable[[Values], None]:
    def check(values: Values) -> None:
        low, high = values[low_name], values[high_name]
        if kind_of(low) != kind_of(high):
            raise validation_error(
                f"Invalid {expression_kind}: The BETWEEN operator requires same data type for lower and upper"
                f" bounds; lower bound operand: AttributeValue: {_show(low)}, upper bound operand:"
                f" AttributeValue: {_show(high)}"
            )
        if to_scalar(low) > to_scalar(high):
            raise validation_error(
                f"Invalid {expression_kind}: The BETWEEN operator requires upper bound to be greater than or"
                f" equal to lower bound; lower bound operand: AttributeValue: {_show(low)}, upper bound"
                f" operand: AttributeValue: {_show(high)}"
            )

    return check


def _show(value: Value) -> str:
    ((kind, content),) = value.items()
    return f"{{{kind}:{content}}}"
