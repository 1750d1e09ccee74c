"""Attribute values in their low-level form ({"S": "text"}): validation, size, comparison and key values.

Sizes are those of the Amazon DynamoDB developer guide, "Item sizes and formats". Stored items are never
changed: a change builds new containers along its path.
"""

from __future__ import annotations

from decimal import Context, Decimal, InvalidOperation
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from tools.simulation.aws.errors import validation_error

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

type Value = Mapping[str, Any]
type Item = Mapping[str, Value]
type Scalar = str | Decimal | bytes
type Key = tuple[Scalar, ...]

# Quotas of the Amazon DynamoDB developer guide, "Service, account, and table quotas"
MAX_ITEM_BYTES = 400 * 1024
MAX_PARTITION_KEY_BYTES = 2048
MAX_SORT_KEY_BYTES = 1024
_MAX_NESTING = 32
_MAX_DIGITS = 38
_MAX_EXPONENT = 125
_MIN_EXPONENT = -130

# Enough digits that normalizing never rounds what the check of the precision must see.
_CONTEXT = Context(prec=200)
_INVALID = "One or more parameter values were invalid"


def text_bytes(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def measure_item(item: Item) -> int:
    """Return the size in bytes. Raises ValidationException for a malformed value."""
    size = 0
    for name, value in item.items():
        size += len(name) if name.isascii() else text_bytes(name)
        text = value.get("S")
        # Most values are texts, for which a call would take most of the time.
        if text is not None and len(value) == 1 and text.isascii():
            size += len(text)
        else:
            size += measure_value(value)
    return size


def measure_value(value: Value, depth: int = 0) -> int:
    if len(value) != 1:
        raise validation_error(
            "Supplied AttributeValue has more than one datatypes set, must contain exactly one of the"
            " supported"
            " datatypes"
            if value
            else "Supplied AttributeValue is empty, must contain exactly one of the supported datatypes"
        )
    ((kind, content),) = value.items()
    if kind == "S":
        return len(content) if content.isascii() else text_bytes(content)
    if kind == "N":
        return _measure_number(content)
    if kind in {"BOOL", "NULL"}:
        return 1
    if kind == "B":
        return len(content)
    if kind in {"M", "L"}:
        return _measure_container(kind, content, depth + 1)
    if kind in {"SS", "NS", "BS"}:
        return _measure_set(kind, content)
    raise NotImplementedError(f"there is no attribute type {kind}")


def _measure_container(kind: str, content: Any, depth: int) -> int:
    if depth > _MAX_NESTING:
        raise validation_error("Nesting Levels have exceeded supported limits")
    size = 3 + len(content)
    if kind == "L":
        return size + sum([measure_value(entry, depth) for entry in content])
    return size + sum([text_bytes(name) + measure_value(entry, depth) for name, entry in content.items()])


def _measure_set(kind: str, content: Any) -> int:
    if not content:
        raise validation_error(f"{_INVALID}: An {_SET_NAMES[kind]} set may not be empty")
    member_kind = kind[0]
    keys = [to_scalar({member_kind: member}) for member in content]
    if len(frozenset(keys)) != len(keys):
        raise validation_error(f"{_INVALID}: Input collection {_show_list(content)} contains duplicates.")
    return sum(measure_value({member_kind: member}) for member in content)


_SET_NAMES = {"SS": "string", "NS": "number", "BS": "binary"}


def _show_list(content: Any) -> str:
    return "[" + ", ".join(map(str, content)) + "]"


def _measure_number(text: str) -> int:
    digits = len(text) if is_canonical_number(text) else len(parse_number(text).as_tuple().digits)
    return (digits + 1) // 2 + 1


def is_canonical_number(text: str) -> bool:
    """Return whether the number is a natural one, which DynamoDB returns as it was written."""
    return (
        text.isascii() and text.isdecimal() and len(text) <= _MAX_DIGITS and (text[0] != "0" or text == "0")
    )


@lru_cache(maxsize=4096)
def parse_number(text: str) -> Decimal:
    """Return the number. Raises ValidationException for too many digits or an exponent out of range."""
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite():
        raise validation_error(f"The parameter cannot be converted to a numeric value: {text}")
    normalized = number.normalize(_CONTEXT)
    if len(normalized.as_tuple().digits) > _MAX_DIGITS:
        raise validation_error("Attempting to store more than 38 significant digits in a Number")
    if normalized and not _MIN_EXPONENT <= normalized.adjusted() <= _MAX_EXPONENT:
        what, limit = ("overflow", "larger") if normalized.adjusted() > 0 else ("underflow", "smaller")
        raise validation_error(
            f"Number {what}. Attempting to store a number with magnitude {limit} than supported range"
        )
    return normalized


def format_number(number: Decimal) -> str:
    """Return the number as DynamoDB writes it, without exponent and trailing zeros."""
    text = format(number.normalize(_CONTEXT), "f")
    return "0" if text == "-0" else text


def normalize_item(item: Item) -> dict[str, Value]:
    """Return a copy of the item with its numbers as DynamoDB returns them."""
    return {name: value if "S" in value else normalize(value) for name, value in item.items()}


def normalize(value: Value) -> Value:
    """Return the value with its numbers as DynamoDB returns them; the same object if nothing changes."""
    ((kind, content),) = value.items()
    normalized: Any = content
    if kind == "N" and not is_canonical_number(content):
        normalized = format_number(parse_number(content))
    elif kind == "NS":
        normalized = [format_number(parse_number(member)) for member in content]
    elif kind == "L":
        normalized = [entry if "S" in entry else normalize(entry) for entry in content]
    elif kind == "M":
        normalized = normalize_item(content)
    else:
        return value
    return value if normalized == content else {kind: normalized}


def kind_of(value: Value) -> str:
    return next(iter(value))


def to_scalar(value: Value) -> Any:
    """Return a value that sorts as in DynamoDB: text by UTF-8 bytes, which is the order of code points."""
    if "S" in value:
        return value["S"]
    ((kind, content),) = value.items()
    return parse_number(content) if kind == "N" else content


def is_equal(left: Value, right: Value) -> bool:
    """Return whether type and content are equal; numbers by value, sets without order."""
    if left == right:
        return True
    ((kind, content),) = left.items()
    if kind not in right or kind not in _COMPARISONS:
        return False
    return _COMPARISONS[kind](content, right[kind])


_COMPARISONS: Mapping[str, Callable[[Any, Any], bool]] = {
    "N": lambda left, right: parse_number(left) == parse_number(right),
    "SS": lambda left, right: frozenset(left) == frozenset(right),
    "BS": lambda left, right: frozenset(left) == frozenset(right),
    "NS": lambda left, right: frozenset(map(parse_number, left)) == frozenset(map(parse_number, right)),
    "L": lambda left, right: len(left) == len(right) and all(map(is_equal, left, right)),
    "M": lambda left, right: (
        left.keys() == right.keys() and all(is_equal(left[name], right[name]) for name in left)
    ),
}
