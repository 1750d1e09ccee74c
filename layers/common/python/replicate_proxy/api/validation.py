"""JSON bodies as pydantic models, and what is wrong with them in Replicate's problem shape. Pure."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from replicate_proxy.errors import ApiError, InvalidField


class RequestBody(BaseModel):
    """Base of request bodies: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def parse_body[T: BaseModel](kind: type[T], body: Any) -> T:
    """The body as `kind`; a 422 ApiError names every field that is wrong."""
    if not isinstance(body, dict):
        raise ApiError(422, "Input validation failed", "The body must be a JSON object")
    try:
        return kind.model_validate(body)
    except ValidationError as error:
        raise _failed(
            [
                InvalidField(
                    type=entry["type"],
                    field=".".join(str(part) for part in entry["loc"])[:200],
                    description=entry["msg"].removeprefix("Value error, "),
                )
                for entry in error.errors(include_url=False, include_input=False)
            ]
        ) from None


def field_error(field: str, description: str, *, error_type: str = "invalid") -> ApiError:
    """A 422 ApiError about one field."""
    return _failed([InvalidField(error_type, field, description)])


def _failed(fields: list[InvalidField]) -> ApiError:
    detail = "".join(f"- {field.field}: {field.description}\n" for field in fields)
    return ApiError(422, "Input validation failed", detail, invalid_fields=fields)
