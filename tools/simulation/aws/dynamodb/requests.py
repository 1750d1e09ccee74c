"""What the operations of DynamoDB share: validation of requests, conditions, and the items to write."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tools.simulation.aws.dynamodb.conditions import compile_condition
from tools.simulation.aws.dynamodb.table import StoredItem
from tools.simulation.aws.dynamodb.updates import compile_update
from tools.simulation.aws.dynamodb.values import (
    MAX_ITEM_BYTES,
    measure_item,
    measure_value,
    normalize,
    normalize_item,
    text_bytes,
)
from tools.simulation.aws.errors import RejectedError, validation_error

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tools.simulation.aws.calls import Parameters
    from tools.simulation.aws.dynamodb.table import Table
    from tools.simulation.aws.dynamodb.values import Item, Key, Value

WRITE_OPTIONS = (
    "ConditionExpression",
    "ExpressionAttributeNames",
    "ExpressionAttributeValues",
    "ReturnValuesOnConditionCheckFailure",
)

_NOTHING: Mapping[str, Any] = {}


class Placeholders:
    """The names and values of a request. All must be used, and all that are used must be there."""

    __slots__ = ("_has_expression", "_used_names", "_used_values", "names", "values")

    def __init__(self, parameters: Parameters) -> None:
        self.names: Mapping[str, str] = parameters.get("ExpressionAttributeNames", _NOTHING)
        self.values: Mapping[str, Value] = parameters.get("ExpressionAttributeValues", _NOTHING)
        if not self.names and "ExpressionAttributeNames" in parameters:
            raise validation_error("ExpressionAttributeNames must not be empty")
        if not self.values and "ExpressionAttributeValues" in parameters:
            raise validation_error("ExpressionAttributeValues must not be empty")
        self._has_expression = False
        self._used_names: frozenset[str] = frozenset()
        self._used_values: frozenset[str] = frozenset()
        for value in self.values.values():
            measure_value(value)

    def use(self, names: frozenset[str], values: frozenset[str], kind: str) -> None:
        """Note the placeholders of an expression. Raises ValidationException if one is not defined."""
        if not names <= self.names.keys():
            raise validation_error(
                f"Invalid {kind}: An expression attribute name used in the document path is not defined;"
                f" attribute name: {min(names - self.names.keys())}"
            )
        if not values <= self.values.keys():
            raise validation_error(
                f"Invalid {kind}: An expression attribute value used in expression is not defined; attribute"
                f" value: {min(values - self.values.keys())}"
            )
        self._has_expression = True
        self._used_names |= names
        self._used_values |= values

    def check_all_used(self) -> None:
        if len(self.names) == len(self._used_names) and len(self.values) == len(self._used_values):
            return
        for kind, defined, used in (
            ("Names", self.names, self._used_names),
            ("Values", self.values, self._used_values),
        ):
            if len(defined) == len(used):
                continue
            if not self._has_expression:
                raise validation_error(
                    f"ExpressionAttribute{kind} can only be specified when using expressions"
                )
            unused = ", ".join(sorted(defined.keys() - used))
            raise validation_error(
                f"Value provided in ExpressionAttribute{kind} unused in expressions: keys: {{{unused}}}"
            )


class Write:
    """A write of one item: what it requires, and what it leaves. Nothing is changed before `apply`.

    Raises RejectedError (ValidationException) for a request that is wrong whatever the item is.
    """

    def __init__(self, table: Table, parameters: Parameters) -> None:
        self.table = table
        self._returns_item = (
            choose(parameters, "ReturnValuesOnConditionCheckFailure", "ALL_OLD", "NONE") == "ALL_OLD"
        )
        self._placeholders = Placeholders(parameters)
        self._item: StoredItem | None = None
        self._update = None
        if "Item" in parameters:
            self.key: Key = table.schema.key.key_of(parameters["Item"])
            self.old = table.items.get(self.key)
            self._item = build_item(parameters["Item"], self.old)
            table.check(self._item.item)
        else:
            self.key = table.schema.key.check_key(parameters["Key"])
            self.old = table.items.get(self.key)
            self._key_item = parameters["Key"]
        if "UpdateExpression" in parameters:
            self._update = compile_update(parameters["UpdateExpression"])
            self._placeholders.use(self._update.names, self._update.values, "UpdateExpression")
        self._condition = None
        if "ConditionExpression" in parameters:
            self._condition = compile_condition(parameters["ConditionExpression"])
            self._placeholders.use(self._condition.names, self._condition.values, "ConditionExpression")
            self._condition.check(self._placeholders.values)
        self._placeholders.check_all_used()

    def check_condition(self) -> RejectedError | None:
        """Return the error if the condition is not met."""
        if self._condition is None:
            return None
        item: Item = self.old.item if self.old else {}
        if self._condition.test(item, self._placeholders.names, self._placeholders.values):
            return None
        stored: dict[str, Any] = {"Item": dict(item)} if self._returns_item and item else {}
        return RejectedError("ConditionalCheckFailedException", "The conditional request failed", **stored)

    def build(self) -> StoredItem | None:
        """Return the item after the write, None if it is deleted. Raises ValidationException."""
        if self._update is None:
            return self._item
        item = self._update.apply(
            self.old.item if self.old else self._key_item,
            self._placeholders.names,
            self._placeholders.values,
            frozenset(self.table.schema.key.attributes),
        )
        updated = build_item(item, self.old, "Item size to update has exceeded the maximum allowed size")
        self.table.check(updated.item)
        return updated


def build_item(
    item: Item,
    old: StoredItem | None,
    message: str = "Item size has exceeded the maximum allowed size",
) -> StoredItem:
    """Return the item to store in the place of the old one.

    Values that are equal to the old ones are shared with them and not measured again, which saves most of the
    time and memory. Raises ValidationException if a value is malformed or the item too large.
    """
    stored = StoredItem(normalize_item(item), measure_item(item)) if old is None else _build_from(old, item)
    if stored.size > MAX_ITEM_BYTES:
        raise validation_error(message)
    return stored


def _build_from(old: StoredItem, item: Item) -> StoredItem:
    size = old.size
    built: dict[str, Value] = {}
    kept = 0
    get_previous = old.item.get
    for name, value in item.items():
        previous = get_previous(name)
        if previous is None:
            size += text_bytes(name) + measure_value(value)
            built[name] = normalize(value)
            continue
        kept += 1
        if previous == value:
            built[name] = previous
        else:
            size += measure_value(value) - measure_value(previous)
            built[name] = normalize(value)
    if kept < len(old.item):
        removed = {name: value for name, value in old.item.items() if name not in built}
        size -= measure_item(removed)
    return StoredItem(built, size)


def choose(parameters: Parameters, name: str, *supported: str) -> str:
    """Return the value of an option, the last one by default. Raises NotImplementedError for others."""
    value = str(parameters.get(name, supported[-1]))
    if value not in supported:
        raise NotImplementedError(f"the in-memory DynamoDB does not handle {name}={value}")
    return value
