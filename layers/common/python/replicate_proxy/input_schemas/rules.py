"""Reduce the OpenAPI document of a model version to the rules for its input. No I/O.

The result is a JSON Schema (draft 7) without references, patterns and unknown keywords, of a limited size:
validating with it takes time in proportion to the input, whatever the author of the model has written.
Keywords that are left out make it more lenient, never stricter.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_MAX_DEPTH: Final = 12
# The largest of 3,808 public models has 104 (npm all-the-public-replicate-models 1.352.0).
_MAX_NODES: Final = 2000
# Of all enums; the largest has 1,000.
_MAX_ENUM_VALUES: Final = 10_000
_MAX_TEXT_CHARACTERS: Final = 500
_MAX_NAME_CHARACTERS: Final = 200
_REFERENCE_PREFIX: Final = "#/components/schemas/"
_TYPES: Final = frozenset({"string", "integer", "number", "boolean", "array", "object", "null"})
_NUMBERS: Final = ("minimum", "maximum")
_COUNTS: Final = ("minLength", "maxLength", "minItems", "maxItems")

type Rules = dict[str, Any]


class _TooLargeError(Exception):
    """The schema has too many parts or values, or is nested too deeply."""


def build_rules(openapi_schema: object) -> Rules | None:
    """Return the rules for the input, None if there is no usable schema.

    `openapi_schema` is that of a version: `{"components": {"schemas": {"Input": {…}, …}}}`.
    """
    schemas = _get_object(_get_object(openapi_schema, "components"), "schemas")
    source = _get_object(schemas, "Input")
    if not _get_object(source, "properties"):
        return None
    try:
        rules = _Reducer(schemas).reduce(source, 0)
    except _TooLargeError:
        return None
    if source.get("additionalProperties") is False:
        rules["additionalProperties"] = False
    return {**rules, "type": "object"}


class _Reducer:
    """Copies a schema without what is unknown, with the referenced schemas in place of references."""

    def __init__(self, schemas: Mapping[str, Any]) -> None:
        self._schemas = schemas
        self._nodes = 0
        self._enum_values = 0

    def reduce(self, source: object, depth: int) -> Rules:
        """Return the rules of one schema; empty if it cannot be understood, which allows everything."""
        self._nodes += 1
        if depth > _MAX_DEPTH or self._nodes > _MAX_NODES:
            raise _TooLargeError
        if not isinstance(source, dict):
            return {}
        if "$ref" in source:
            # Draft 7 ignores what stands beside a reference.
            return self.reduce(self._resolve(source["$ref"]), depth + 1)
        rules = {**_copy_scalars(source), **self._reduce_parts(source, depth + 1)}
        self._enum_values += len(rules.get("enum", ()))
        if self._enum_values > _MAX_ENUM_VALUES:
            raise _TooLargeError
        return _allow_null(rules) if source.get("nullable") is True else rules

    def _resolve(self, reference: object) -> object:
        """Return the schema in the same document; nothing is ever fetched."""
        if not isinstance(reference, str) or not reference.startswith(_REFERENCE_PREFIX):
            return {}
        return self._schemas.get(reference.removeprefix(_REFERENCE_PREFIX), {})

    def _reduce_parts(self, source: Mapping[str, Any], depth: int) -> Rules:
        rules: Rules = {}
        properties = _get_object(source, "properties")
        if any(len(name) > _MAX_NAME_CHARACTERS for name in properties):
            raise _TooLargeError
        if properties:
            rules["properties"] = {name: self.reduce(part, depth) for name, part in properties.items()}
            required = [name for name in _get_texts(source, "required") if _is_required(properties.get(name))]
            rules.update({"required": required} if required else {})
        if isinstance(source.get("items"), dict):
            rules["items"] = self.reduce(source["items"], depth)
        if all_of := self._reduce_list(source, "allOf", depth):
            rules["allOf"] = all_of
        # More than one match of `oneOf` is not an error here: which parts match depends on what was left out.
        if any_of := self._reduce_list(source, "anyOf", depth) or self._reduce_list(source, "oneOf", depth):
            rules["anyOf"] = any_of
        return rules

    def _reduce_list(self, source: Mapping[str, Any], keyword: str, depth: int) -> list[Rules]:
        parts = source.get(keyword)
        return [self.reduce(part, depth) for part in parts] if isinstance(parts, list) else []


def _copy_scalars(source: Mapping[str, Any]) -> Rules:
    """Return the keywords without schemas in them whose values are what they should be."""
    rules: Rules = {}
    types = source.get("type")
    names = types if isinstance(types, list) else [types]
    if all(isinstance(name, str) and name in _TYPES for name in names):
        rules["type"] = types
    enum = source.get("enum")
    if isinstance(enum, list) and enum and all(map(_is_plain, enum)):
        rules["enum"] = enum
        # The choices say it all, and early versions of Cog list those of an integer as texts.
        rules.pop("type", None)
    rules.update({name: source[name] for name in _NUMBERS if _is_number(source.get(name))})
    rules.update({name: source[name] for name in _COUNTS if _is_count(source.get(name))})
    rules.update(_copy_exclusive_limits(source))
    if source.get("format") == "uri":
        rules["format"] = "uri"
    return rules


def _copy_exclusive_limits(source: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield exclusive limits, which are booleans beside `minimum` and `maximum` in OpenAPI 3.0."""
    for keyword, limit in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        value = source[limit] if source.get(keyword) is True and limit in source else source.get(keyword)
        if _is_number(value):
            yield keyword, value


def _allow_null(rules: Rules) -> Rules:
    types = rules.get("type", [])
    names = types if isinstance(types, list) else [types]
    changed = {**rules, **({"type": [*names, "null"]} if names else {})}
    return {**changed, "enum": [*rules["enum"], None]} if "enum" in rules else changed


def _is_required(source: object) -> bool:
    """Return whether a field that the schema calls required has no default, which would apply."""
    return isinstance(source, dict) and "default" not in source


def _is_plain(value: object) -> bool:
    if isinstance(value, str):
        return len(value) <= _MAX_TEXT_CHARACTERS
    return value is None or isinstance(value, bool) or _is_number(value)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53


def _get_object(value: object, name: str) -> dict[str, Any]:
    part = value.get(name) if isinstance(value, dict) else None
    return part if isinstance(part, dict) else {}


def _get_texts(source: Mapping[str, Any], name: str) -> list[str]:
    values = source.get(name)
    return [value for value in values if isinstance(value, str)] if isinstance(values, list) else []
