"""Projection expressions: the parts of an item that a read returns."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from tools.simulation.aws.dynamodb.conditions import get_at, resolve_path
from tools.simulation.aws.dynamodb.syntax import parse_projection

if TYPE_CHECKING:
    from collections.abc import Callable

    from tools.simulation.aws.calls import Parameters
    from tools.simulation.aws.dynamodb.requests import Placeholders
    from tools.simulation.aws.dynamodb.syntax import Parsed, Path
    from tools.simulation.aws.dynamodb.values import Item, Value


def compile_projection(
    parameters: Parameters, placeholders: Placeholders
) -> Callable[[Item], dict[str, Value]]:
    """Return the function that makes an item of a response: a copy, or the projected part of it."""
    if "ProjectionExpression" not in parameters:
        return dict
    parsed = _parse(parameters["ProjectionExpression"])
    placeholders.use(parsed.names, parsed.values, "ProjectionExpression")
    paths = [resolve_path(path, placeholders.names) for path in parsed.tree]

    def project(item: Item) -> dict[str, Value]:
        projected: dict[str, Any] = {}
        for path in paths:
            value = get_at(item, path)
            if value is not None:
                _insert(projected, path, value)
        return projected

    return project


@lru_cache(maxsize=256)
def _parse(text: str) -> Parsed[tuple[Path, ...]]:
    parsed = parse_projection(text)
    if any(isinstance(part, int) for path in parsed.tree for part in path.parts):
        raise NotImplementedError(f"the in-memory DynamoDB does not project elements of lists: {text}")
    return parsed


def _insert(projected: dict[str, Any], path: tuple[str | int, ...], value: Value) -> None:
    for part in path[:-1]:
        projected = projected.setdefault(str(part), {"M": {}})["M"]
    projected[str(path[-1])] = value
