"""Event patterns of rules and event source mappings (Amazon EventBridge user guide, "Event patterns")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

type Matcher = Callable[[Mapping[str, Any]], bool]

_MISSING = object()


def compile_pattern(pattern: Mapping[str, Any]) -> Matcher:
    """Return the function that says whether an event matches.

    Raises NotImplementedError for filters other than exact values and `anything-but`.
    """
    fields = [(name, _compile_field(name, part)) for name, part in pattern.items()]

    def matches(event: Mapping[str, Any]) -> bool:
        return all(field_matches(event.get(name, _MISSING)) for name, field_matches in fields)

    return matches


def _compile_field(name: str, part: Any) -> Callable[[Any], bool]:
    if name.startswith("$"):
        raise NotImplementedError(f"the in-memory EventBridge does not handle the pattern {name}")
    if isinstance(part, dict):
        matches = compile_pattern(part)
        return lambda value: isinstance(value, dict) and matches(value)
    filters = [_compile_filter(entry) for entry in part]
    return lambda value: any(matches(entry) for entry in _values_of(value) for matches in filters)


def _values_of(value: Any) -> list[Any]:
    """Return the values of which one must match: those of an array, none for a missing field."""
    if value is _MISSING:
        return []
    return value if isinstance(value, list) else [value]


def _compile_filter(entry: Any) -> Callable[[Any], bool]:
    if not isinstance(entry, dict):
        return lambda value: type(value) is type(entry) and value == entry
    match entry:
        case {"anything-but": list(excluded)} if len(entry) == 1:
            return lambda value: not any(value == other for other in excluded)
        case {"anything-but": str() | int() | float() as excluded_value} if len(entry) == 1:
            return lambda value: value != excluded_value
    raise NotImplementedError(f"the in-memory EventBridge does not handle the filter {entry}")
