"""Validate JSON bodies with pydantic and report what is wrong in Replicate's problem format.

The format is one for all routes: status 422, and `invalid_fields` with `type`, dotted `field` path and
`description`. Replicate names a field that is not allowed in the description, and the object that holds it in
`field` (empty for the body itself).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    ValidationError,
    ValidationInfo,
    model_validator,
)

from replicate_proxy.clock import convert_to_utc
from replicate_proxy.errors import MAX_LISTED_FIELDS, InvalidField, field_error, field_errors

if TYPE_CHECKING:
    from collections.abc import Mapping


_MAX_NAME_CHARS = 100


@dataclass(slots=True)
class _DroppedFields:
    """How many unknown fields of a body pydantic has not seen."""

    count: int = 0


_PATTERN_RULES: dict[str, str] = {}
"""What the error says instead of the pattern of a text, by the pattern."""


def describe_pattern(pattern: str, rule: str) -> str:
    """Return the pattern of a text, of which errors say the rule: `must be …`."""
    _PATTERN_RULES[pattern] = rule
    return pattern


UtcTime = Annotated[AwareDatetime, AfterValidator(convert_to_utc)]
"""A time with an offset, as UTC."""


class RequestBody(BaseModel):
    """Base of all request bodies; unknown fields are rejected."""

    # The validator of a body is built for the first request that has one.
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    @model_validator(mode="before")
    @classmethod
    def _drop_excess_fields(cls, body: Any, info: ValidationInfo) -> Any:
        """Keep the first unknown fields only, because pydantic builds an error of 500 bytes for each."""
        if not isinstance(body, dict) or len(body) <= len(cls.model_fields) + MAX_LISTED_FIELDS:
            return body
        unknown = (name for name in body if name not in cls.model_fields)
        dropped = set(islice(unknown, MAX_LISTED_FIELDS, None))
        if isinstance(info.context, _DroppedFields):
            info.context.count += len(dropped)
        return {name: value for name, value in body.items() if name not in dropped}


def parse_body[T: BaseModel](model: type[T], body: Any) -> T:
    """Return the JSON value as `model`. Raises a 422 ApiError that lists the first invalid fields."""
    if not isinstance(body, dict):
        raise field_error("", "The body must be a JSON object", error_type="invalid_type")
    dropped = _DroppedFields()
    try:
        return model.model_validate(body, context=dropped)
    except ValidationError as error:
        entries = error.errors(include_url=False, include_input=False)[:MAX_LISTED_FIELDS]
        fields = [_build_invalid_field(entry) for entry in entries]
        raise field_errors(fields, total=error.error_count() + dropped.count) from None


def _build_invalid_field(entry: Mapping[str, Any]) -> InvalidField:
    """Translate one pydantic error. Texts never repeat values, which can hold secrets."""
    path = entry["loc"]
    match entry["type"]:
        case "extra_forbidden":
            description = f"Additional property {str(path[-1])[:_MAX_NAME_CHARS]} is not allowed"
            return InvalidField("additional_property_not_allowed", _join(path[:-1]), description)
        case "missing":
            return InvalidField("required", _join(path), "is required")
        case "string_pattern_mismatch" as error_type:
            rule = _PATTERN_RULES.get(entry["ctx"]["pattern"], entry["msg"])
            return InvalidField(error_type, _join(path), rule)
        case error_type:
            return InvalidField(error_type, _join(path), entry["msg"].removeprefix("Value error, "))


def _join(path: tuple[str | int, ...]) -> str:
    return ".".join(str(part) for part in path)
