"""Validate an input against the rules of its model, in the words of Replicate.

Replicate validates with gojsonschema, whose names and texts its 422 responses have: `number_lte`, "Must be
less than or equal to 4"; a missing field is an error of the object that lacks it.
"""

from __future__ import annotations

import json
import re
from functools import cached_property
from typing import TYPE_CHECKING, Any

from replicate_proxy.errors import InvalidField
from replicate_proxy.input_schemas.coercion import coerce_input
from replicate_proxy.observability import logger

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    import jsonschema_rs

    from replicate_proxy.input_schemas.rules import Rules

_MAX_LISTED_VALUES = 30
_MAX_NAME_CHARACTERS = 100
# Of the part of an invalid input in which all errors are looked for
_MAX_VALUES = 1000
_MAX_CHARACTERS = 20_000
# Replicate takes http(s) and data URLs; what has any scheme passes.
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
# gojsonschema's type and text by keyword (its locales.go).
_TEXTS: Mapping[str, tuple[str, str]] = {
    "minimum": ("number_gte", "Must be greater than or equal to {}"),
    "maximum": ("number_lte", "Must be less than or equal to {}"),
    "exclusiveMinimum": ("number_gt", "Must be greater than {}"),
    "exclusiveMaximum": ("number_lt", "Must be less than {}"),
    "minLength": ("string_gte", "String length must be greater than or equal to {}"),
    "maxLength": ("string_lte", "String length must be less than or equal to {}"),
    "minItems": ("array_min_items", "Array must have at least {} items"),
    "maxItems": ("array_max_items", "Array must have at most {} items"),
    "format": ("format", "Does not match format '{}'"),
    "anyOf": ("number_any_of", "Must validate at least one schema (anyOf)"),
}


class InputSchema:
    """The rules for the input of one model. The schema library is loaded with the first validation."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules

    @property
    def names(self) -> tuple[str, ...]:
        """The fields that the model knows."""
        return tuple(self.rules["properties"])

    def find_unknown_names(self, model_input: Mapping[str, Any]) -> list[str]:
        """Return the fields of the input that the model does not know."""
        return [name for name in model_input if name not in self.rules["properties"]]

    def find_errors(
        self, model_input: Mapping[str, Any], *, path: str = "input", is_complete: bool = True
    ) -> list[InvalidField]:
        """Return at most one error of each field. Descriptions hold no values of the input.

        With `is_complete` False, fields may be missing. An input that the library cannot read has no errors.
        Of a large input not all errors are returned, but at least one.
        """
        errors: dict[tuple[str, str], InvalidField] = {}
        try:
            for error in self._list_errors(coerce_input(model_input, self.rules)):
                if is_complete or error.kind.name != "required" or error.instance_path:
                    for name, field in _describe(error, path):
                        errors.setdefault((field.field, name), field)
        except ValueError as error:  # for example a text that is not valid Unicode
            logger.warning("input not validated", reason=type(error).__name__)
            return []
        return list(errors.values())

    def _list_errors(self, coerced: Mapping[str, Any]) -> Iterator[jsonschema_rs.ValidationError]:
        """Yield all errors of a part of the input, and the first one of the whole.

        The library builds all errors at once, each with a copy of the value that it is about: those of an
        input of 1 MB can take 600 MB.
        """
        if self._validator.is_valid(coerced):
            return
        yield from self._validator.iter_errors(_Shortener().shorten_input(coerced, self.rules["properties"]))
        yield from self._find_first(coerced)

    def _find_first(self, coerced: Mapping[str, Any]) -> Iterator[jsonschema_rs.ValidationError]:
        import jsonschema_rs  # noqa: PLC0415 - see `_validator`

        try:
            self._validator.validate(coerced)
        except jsonschema_rs.ValidationError as error:
            yield error

    @cached_property
    def _validator(self) -> jsonschema_rs.Draft7Validator:
        # Takes time to load, and most execution environments have seen no schema when they start.
        import jsonschema_rs  # noqa: PLC0415

        formats: dict[str, Callable[[str], bool]] = {"uri": _is_uri}
        return jsonschema_rs.Draft7Validator(self.rules, validate_formats=True, formats=formats)


class _Shortener:
    """Cuts long texts, arrays and objects."""

    def __init__(self) -> None:
        self._values = _MAX_VALUES
        self._characters = _MAX_CHARACTERS

    def shorten_input(self, model_input: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
        """Return the input with all fields that the model knows. What is long is cut first."""
        shortened = {}
        for name, value in sorted(model_input.items(), key=lambda member: _measure(member[1])):
            if name in names or self._has_room(len(name)):
                shortened[name] = self._shorten(value)
        return shortened

    def _shorten(self, value: Any) -> Any:
        self._values -= 1
        if isinstance(value, str):
            text = value[: max(self._characters, 0)]
            self._characters -= len(text)
            return text
        if isinstance(value, list):
            return [self._shorten(item) for item in value if self._has_room()]
        if isinstance(value, dict):
            return {name: self._shorten(item) for name, item in value.items() if self._has_room(len(name))}
        return value

    def _has_room(self, characters: int = 0) -> bool:
        self._characters -= characters
        return self._values > 0 and self._characters > 0


def _measure(value: Any) -> int:
    return len(value) if isinstance(value, str | list | dict) else 0


def _is_uri(text: str) -> bool:
    return not text or _SCHEME.match(text) is not None


def _describe(error: jsonschema_rs.ValidationError, path: str) -> Iterator[tuple[str, InvalidField]]:
    """Yield the errors of fields, with the name of the field for what its parent lacks or has too much."""
    keyword: str = error.kind.name
    details: dict[str, Any] = error.kind.as_dict()
    field = ".".join([path, *map(str, error.instance_path)])
    if keyword == "required":
        name = details["property"]
        yield name, InvalidField("required", field, f"{name} is required")
    elif keyword == "additionalProperties":
        for name in details["unexpected"]:
            text = f"Additional property {name[:_MAX_NAME_CHARACTERS]} is not allowed"
            yield name, InvalidField("additional_property_not_allowed", field, text)
    elif keyword == "type":
        expected = "/".join(sorted(details["types"]))
        given = _name_type(error.instance)
        yield "", InvalidField("invalid_type", field, f"Invalid type. Expected: {expected}, given: {given}")
    elif keyword == "enum":
        name = field.rpartition(".")[2]
        yield "", InvalidField("enum", field, f"{name} must be one of the following: {_list(details)}")
    else:
        error_type, text = _TEXTS[keyword]
        yield "", InvalidField(error_type, field, text.format(*details.values()))


def _list(details: Mapping[str, Any]) -> str:
    values = details["options"]
    listed = ", ".join(json.dumps(value, ensure_ascii=False) for value in values[:_MAX_LISTED_VALUES])
    rest = len(values) - _MAX_LISTED_VALUES
    return f"{listed}, and {rest} more" if rest > 0 else listed


def _name_type(value: object) -> str:
    """Return the name that gojsonschema gives to the type of a JSON value."""
    names: tuple[tuple[type | tuple[type, ...], str], ...] = (
        (bool, "boolean"),
        (int, "integer"),
        (float, "number"),
        (str, "string"),
        (list, "array"),
        (dict, "object"),
    )
    return next((name for types, name in names if isinstance(value, types)), "null")
