"""Update expressions as functions that are built once for each expression.

All operands are read from the item as it was before the update. The item is not changed: the result shares
all values that the update leaves alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from tools.simulation.aws.dynamodb.conditions import compile_operand, get_at, resolve_path
from tools.simulation.aws.dynamodb.syntax import Arithmetic, FunctionCall, Path, ValueName, parse_update
from tools.simulation.aws.dynamodb.values import format_number, is_equal, kind_of, parse_number
from tools.simulation.aws.errors import validation_error

if TYPE_CHECKING:
    from collections.abc import Callable

    from tools.simulation.aws.dynamodb.conditions import Names, Read, Values
    from tools.simulation.aws.dynamodb.syntax import Action, Operand
    from tools.simulation.aws.dynamodb.values import Item, Value

type ResolvedPath = tuple[str | int, ...]
type Change = Callable[[Item, Names, Values], tuple[ResolvedPath, Value | None]]
"""Returns a path and its new value, None to remove it."""

_INVALID_PATH = "The document path provided in the update expression is invalid for update"
_INVALID_TYPE = "An operand in the update expression has an incorrect data type"
_MISSING = "The provided expression refers to an attribute that does not exist in the item"


@dataclass(frozen=True, slots=True)
class CompiledUpdate:
    """An update with the placeholders it uses."""

    changes: tuple[Change, ...]
    names: frozenset[str]
    values: frozenset[str]

    def apply(self, item: Item, names: Names, values: Values, key_names: frozenset[str]) -> dict[str, Value]:
        """Return the updated item. Raises ValidationException for paths that cannot be updated."""
        changes = [change(item, names, values) for change in self.changes]
        _check_paths([path for path, _ in changes], key_names)
        updated: dict[str, Value] = dict(item)
        # Elements of lists are removed from the end, so that the positions of the others stay the same.
        removals = [path for path, value in changes if value is None]
        for path, value in changes:
            if value is not None:
                _set(updated, path, value)
        for path in sorted(removals, key=_list_position, reverse=True):
            _remove(updated, path)
        return updated


@lru_cache(maxsize=1024)
def compile_update(text: str) -> CompiledUpdate:
    parsed = parse_update(text)
    return CompiledUpdate(tuple(map(_compile_action, parsed.tree)), parsed.names, parsed.values)


def _compile_action(action: Action) -> Change:
    path = action.path
    if action.operand is None:
        return lambda _, names, __: (resolve_path(path, names), None)
    if action.section == "SET":
        read = _compile_required(action.operand)
        return lambda item, names, values: (resolve_path(path, names), read(item, names, values))
    combine = _add if action.section == "ADD" else _subtract_set
    argument = compile_operand(action.operand)
    current = compile_operand(path)

    def change(item: Item, names: Names, values: Values) -> tuple[ResolvedPath, Value | None]:
        operand = argument(item, names, values)
        if operand is None:
            raise validation_error(_MISSING)
        return resolve_path(path, names), combine(current(item, names, values), operand)

    return change


def _compile_required(operand: Operand) -> Callable[[Item, Names, Values], Value]:
    """Compile the operand of a SET action, which must have a value."""
    read = _compile_settable(operand)

    def read_required(item: Item, names: Names, values: Values) -> Value:
        value = read(item, names, values)
        if value is None:
            raise validation_error(_MISSING)
        return value

    return read_required


def _compile_settable(operand: Operand) -> Read:
    match operand:
        case Path() | ValueName():
            return compile_operand(operand)
        case Arithmetic(sign, left, right):
            read_left, read_right = _compile_required(left), _compile_required(right)
            return lambda item, names, values: _calculate(
                sign, read_left(item, names, values), read_right(item, names, values)
            )
        case FunctionCall("if_not_exists", (path, default)):
            read, read_default = compile_operand(path), _compile_required(default)

            def read_or_default(item: Item, names: Names, values: Values) -> Value:
                value = read(item, names, values)
                return read_default(item, names, values) if value is None else value

            return read_or_default
        case FunctionCall("list_append", (left, right)):
            read_first, read_second = _compile_required(left), _compile_required(right)
            return lambda item, names, values: _append(
                read_first(item, names, values), read_second(item, names, values)
            )
    raise NotImplementedError(f"operand {operand}")


def _calculate(sign: str, left: Value, right: Value) -> Value:
    if "N" not in left or "N" not in right:
        raise validation_error(_INVALID_TYPE)
    first, second = parse_number(left["N"]), parse_number(right["N"])
    return {"N": format_number(first + second if sign == "+" else first - second)}


def _append(left: Value, right: Value) -> Value:
    if "L" not in left or "L" not in right:
        raise validation_error(_INVALID_TYPE)
    return {"L": [*left["L"], *right["L"]]}


def _add(current: Value | None, operand: Value) -> Value:
    kind = kind_of(operand)
    if kind not in {"N", "SS", "NS", "BS"}:
        raise validation_error(
            "Invalid UpdateExpression: Incorrect operand type for operator or function; operator:"
            " ADD, operand"
            f" type: {kind}"
        )
    if current is None:
        return operand
    if kind not in current:
        raise validation_error(_INVALID_TYPE)
    if kind == "N":
        return _calculate("+", current, operand)
    return {kind: [*current[kind], *_without(operand[kind], current[kind], kind)]}


def _subtract_set(current: Value | None, operand: Value) -> Value | None:
    """Return the set without the elements; an empty set is removed."""
    kind = kind_of(operand)
    if kind not in {"SS", "NS", "BS"}:
        raise validation_error(
            "Invalid UpdateExpression: Incorrect operand type for operator or function; operator: DELETE,"
            f" operand type: {kind}"
        )
    if current is None:
        return None
    if kind not in current:
        raise validation_error(_INVALID_TYPE)
    rest = _without(current[kind], operand[kind], kind)
    return {kind: rest} if rest else None


def _without(members: Any, excluded: Any, kind: str) -> list[Any]:
    return [
        member
        for member in members
        if not any(is_equal({kind[0]: member}, {kind[0]: other}) for other in excluded)
    ]


def _check_paths(paths: list[ResolvedPath], key_names: frozenset[str]) -> None:
    for position, path in enumerate(paths):
        if path[0] in key_names:
            raise validation_error(
                f"One or more parameter values were invalid: Cannot update attribute {path[0]}. This"
                " attribute"
                " is part of the key"
            )
        for other in paths[:position]:
            length = min(len(path), len(other))
            if path[:length] == other[:length]:
                raise validation_error(
                    "Invalid UpdateExpression: Two document paths overlap with each other; must remove or"
                    f" rewrite one of these paths; path one: {_show(other)}, path two: {_show(path)}"
                )


def _show(path: ResolvedPath) -> str:
    return "[" + ", ".join(f"[{part}]" if isinstance(part, int) else part for part in path) + "]"


def _list_position(path: ResolvedPath) -> int:
    return path[-1] if isinstance(path[-1], int) else -1


def _set(item: dict[str, Value], path: ResolvedPath, value: Value) -> None:
    name = str(path[0])
    item[name] = value if len(path) == 1 else _replace(item.get(name), path[1:], value)


def _remove(item: dict[str, Value], path: ResolvedPath) -> None:
    name = str(path[0])
    if len(path) == 1:
        item.pop(name, None)
    else:
        item[name] = _replace(item.get(name), path[1:], None)


def _replace(container: Value | None, path: ResolvedPath, value: Value | None) -> Value:
    """Return a copy of a list or map with the value at the path replaced, or removed if `value` is None."""
    part, rest = path[0], path[1:]
    kind = "L" if isinstance(part, int) else "M"
    if container is None or kind not in container:
        raise validation_error(_INVALID_PATH)
    content: Any = container[kind].copy()
    current = get_at({"": container}, ("", part))
    if rest:
        content[part] = _replace(current, rest, value)
    elif value is None:
        if current is not None:
            del content[part]
    elif isinstance(part, int) and part >= len(content):
        content.append(value)
    else:
        content[part] = value
    return {kind: content}
