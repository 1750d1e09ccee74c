"""Validate JSON bodies with pydantic and report what is wrong in Replicate's problem format.

The format is one for all routes: status 422, and `invalid_fields` with `type`, dotted `field` path and
`description`. Replicate names a field that is not allowed in the description, and the object that holds it in
`field` (empty for the body itself).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from replicate_proxy.errors import InvalidField, field_error, field_errors

if TYPE_CHECKING:
    from collections.abc import Mapping


_MAX_NAME_CHARS = 100
_MAX_PATH_CHARS = 200


class RequestBody(BaseModel):
    """Base of all request bodies; unknown fields are rejected."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def parse_body[T: BaseModel](model: type[T], body: Any) -> T:
    """Return the JSON value as `model`. Raises a 422 ApiError that names every invalid field."""
    if not isinstance(body, dict):
        raise field_error("", "The body must be a JSON object", error_type="invalid_type")
    try:
        return model.model_validate(body)
    except ValidationError as error:
        entries = error.errors(include_url=False, include_input=False)
        raise field_errors([_build_invalid_field(entry) for entry in entries]) from None


def _build_invalid_field(entry: Mapping[str, Any]) -> InvalidField:
    """Translate one pydantic error. Texts never repeat values, which can hold secrets."""
    path = entry["loc"]
    match entry["type"]:
        case "extra_forbidden":
            description = f"Additional property {str(path[-1])[:_MAX_NAME_CHARS]} is not allowed"
            return InvalidField("additional_property_not_allowed", _join(path[:-1]), description)
        case "missing":
            return InvalidField("required", _join(path), "is required")
        case error_type:
            return InvalidField(error_type, _join(path), entry["msg"].removeprefix("Value error, "))


def _join(path: tuple[str | int, ...]) -> str:
    return ".".join(str(part) for part in path)[:_MAX_PATH_CHARS]
