"""Key conditions of queries: the partition and the range of sort keys that they select."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from tools.simulation.aws.dynamodb.conditions import compile_condition
from tools.simulation.aws.dynamodb.syntax import (
    Between,
    Comparison,
    FunctionCall,
    Junction,
    Path,
    ValueName,
    parse_condition,
)
from tools.simulation.aws.dynamodb.values import kind_of, to_scalar
from tools.simulation.aws.errors import validation_error

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tools.simulation.aws.dynamodb.conditions import Names, Values
    from tools.simulation.aws.dynamodb.schema import KeySchema
    from tools.simulation.aws.dynamodb.syntax import Condition
    from tools.simulation.aws.dynamodb.values import Key, Scalar, Value

KIND = "KeyConditionExpression"
type Entry = tuple[Scalar, Key]
"""A member of a partition: its sort key (an empty text if there is none), and the key of its item."""

_get_sort = itemgetter(0)


@dataclass(frozen=True, slots=True)
class _Term:
    """A condition on one key attribute."""

    sign: str
    path: Path
    values: tuple[str, ...]


@dataclass(slots=True)
class KeyRange:
    """The partition, and the condition on the sort key; `sign` is empty if there is none."""

    partition: Scalar
    sign: str = ""
    bounds: tuple[Any, ...] = ()

    def locate(self, entries: Sequence[Entry]) -> tuple[int, int]:
        """Return start and end of the range in the sorted entries of a partition."""
        if not self.sign:
            return 0, len(entries)
        low = self.bounds[0]
        if self.sign == "begins_with":
            length = len(low)
            start = bisect_left(entries, low, key=_get_sort)
            return start, bisect_right(entries, low, start, key=lambda entry: _get_prefix(entry, length))
        start, end = 0, len(entries)
        if self.sign in {"=", ">=", "BETWEEN"}:
            start = bisect_left(entries, low, key=_get_sort)
        elif self.sign == ">":
            start = bisect_right(entries, low, key=_get_sort)
        if self.sign in {"=", "<=", "BETWEEN"}:
            end = bisect_right(entries, self.bounds[-1], key=_get_sort)
        elif self.sign == "<":
            end = bisect_left(entries, low, key=_get_sort)
        return start, max(start, end)


def _get_prefix(entry: Entry, length: int) -> Any:
    sort: Any = entry[0]
    return sort[:length]


@lru_cache(maxsize=256)
def _parse_terms(text: str) -> tuple[_Term, ...]:
    tree = parse_condition(text, KIND).tree
    return tuple(_to_term(part) for part in _flatten(tree))


def _flatten(condition: Condition) -> tuple[Condition, ...]:
    if isinstance(condition, Junction) and condition.word == "AND":
        return tuple(part for inner in condition.conditions for part in _flatten(inner))
    return (condition,)


def _to_term(condition: Condition) -> _Term:
    match condition:
        case Comparison(sign, Path() as path, ValueName(value)) if sign != "<>":
            return _Term(sign, path, (value,))
        case Between(Path() as path, ValueName(low), ValueName(high)):
            return _Term("BETWEEN", path, (low, high))
        case FunctionCall("begins_with", (Path() as path, ValueName(value))):
            return _Term("begins_with", path, (value,))
    raise validation_error(f"Invalid operator used in {KIND}")


def build_key_range(text: str, schema: KeySchema, names: Names, values: Values) -> KeyRange:
    """Return the range that the expression selects. Raises ValidationException if it is none."""
    compile_condition(text, KIND).check(values)
    terms: dict[str, _Term] = {}
    for term in _parse_terms(text):
        (name,) = term.path.parts if len(term.path.parts) == 1 else ("",)
        attribute = names[name] if isinstance(name, str) and name.startswith("#") else str(name)
        if attribute in terms:
            raise validation_error(f"{KIND}s must only contain one condition per key")
        terms[attribute] = term
    partition_term = terms.pop(schema.partition, None)
    if partition_term is None:
        raise validation_error(f"Query condition missed key schema element: {schema.partition}")
    if partition_term.sign != "=":
        raise validation_error("Query key condition not supported")
    (partition,) = _read_values(partition_term, schema, schema.partition, values)
    if not terms:
        return KeyRange(partition)
    sort_term = terms.pop(schema.sort, None) if schema.sort else None
    if sort_term is None:
        raise validation_error(
            f"Query condition missed key schema element: {schema.sort or next(iter(terms))}"
        )
    if terms:
        raise validation_error("Conditions can be of length 1 or 2 only")
    return KeyRange(partition, sort_term.sign, _read_values(sort_term, schema, schema.sort, values))


def _read_values(term: _Term, schema: KeySchema, attribute: str | None, values: Values) -> tuple[Any, ...]:
    return tuple([_read_value(values[name], schema, str(attribute)) for name in term.values])


def _read_value(value: Value, schema: KeySchema, attribute: str) -> Any:
    if kind_of(value) != schema.kinds[attribute]:
        raise validation_error(
            "One or more parameter values were invalid: Condition parameter type does not match schema type"
        )
    if not next(iter(value.values())):
        raise validation_error(
            "One or more parameter values are not valid. The AttributeValue for a key attribute"
            " cannot contain"
            f" an empty string value. Key: {attribute}"
        )
    return to_scalar(value)
