"""Bodies and headers of create requests, checked as Replicate checks them (OpenAPI document, prediction
requests).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    field_validator,
    model_validator,
)

from replicate_proxy.errors import ApiError, InvalidField
from replicate_proxy.jobs.model import MAX_BATCH_JOBS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


WebhookEvent = Literal["start", "output", "logs", "completed"]
# A model's owner or name, as it appears in URLs.
_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}"
NAME = re.compile(_NAME)
Reference = Annotated[
    str, StringConstraints(pattern=rf"^(?:[0-9a-f]{{64}}|{_NAME}/{_NAME}(?::[0-9a-f]{{64}})?)$")
]
Name = Annotated[str, StringConstraints(pattern=rf"^{_NAME}/{_NAME}$")]

_DURATION = re.compile(r"(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,8})s?)?")
_WAIT = re.compile(r"(?:^|[,;\s])wait(?:\s*=\s*(\d{1,4}))?(?=$|[,;\s])")
_SHORTEST_DEADLINE = 5
_LONGEST_WAIT = 60
_DEEPEST = 64


class CreatePredictionBody(BaseModel):
    """The body of a create by model or deployment; unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    input: dict[str, Any]
    # Deprecated by Replicate and without effect here: outputs are told once they are final.
    stream: bool | None = None
    webhook: Annotated[str, StringConstraints(max_length=2048)] | None = None
    webhook_completed: Annotated[str, StringConstraints(max_length=2048)] | None = None
    webhook_events_filter: Annotated[list[WebhookEvent], Field(max_length=4)] | None = None

    @field_validator("input")
    @classmethod
    def _not_too_deep(cls, value: dict[str, Any]) -> dict[str, Any]:
        if _depth(value) > _DEEPEST:
            raise ValueError(f"Input is nested deeper than {_DEEPEST} levels")
        return value


class CreatePredictionByVersionBody(CreatePredictionBody):
    """The body of a create by version: a 64-digit id, `owner/name`, or `owner/name:id`."""

    version: Reference


class BatchEntryBody(CreatePredictionBody):
    """One prediction of a batch, named by exactly one of a version reference, a model and a deployment."""

    version: Reference | None = None
    model: Name | None = None
    deployment: Name | None = None

    @model_validator(mode="after")
    def _named_once(self) -> Self:
        if sum(name is not None for name in (self.version, self.model, self.deployment)) != 1:
            raise ValueError("One of version, model and deployment is required, and no two of them")
        return self


class CreateBatchBody(BaseModel):
    """The body of a batch; `webhook` and `webhook_events_filter` are for entries without a webhook."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    predictions: Annotated[list[BatchEntryBody], Field(min_length=1, max_length=MAX_BATCH_JOBS)]
    webhook: Annotated[str, StringConstraints(max_length=2048)] | None = None
    webhook_events_filter: Annotated[list[WebhookEvent], Field(max_length=4)] | None = None


def parse_request[T: BaseModel](kind: type[T], body: Any) -> T:
    """The validated body; a 422 ApiError in Replicate's shape names every field that is wrong."""
    if not isinstance(body, dict):
        raise refuse("invalid_type", "", "The body must be a JSON object")
    try:
        return kind.model_validate(body)
    except ValidationError as error:
        raise _problem_of(error) from None


def refuse(type_: str, field: str, description: str) -> ApiError:
    """A 422 about one field."""
    return refuse_all([InvalidField(type_, field, description)])


def refuse_all(fields: Sequence[InvalidField]) -> ApiError:
    """A 422 about several fields, in Replicate's shape."""
    detail = "".join(f"- {field.description}\n" for field in fields)
    return ApiError(422, "Input validation failed", detail, invalid_fields=fields)


def parse_cancel_after(text: str) -> int:
    """`Cancel-After` in seconds: `30s`, `5m`, `1h30m45s` or `30`; at least 5 (OpenAPI document,
    Cancel-After).
    """
    found = _DURATION.fullmatch(text.strip())
    if not found or not any(found.groups()):
        raise refuse(
            "invalid_header", "Cancel-After", "Cancel-After must be a duration such as 30s, 5m or 1h30m45s"
        )
    hours, minutes, seconds = (int(part or 0) for part in found.groups())
    total = hours * 3600 + minutes * 60 + seconds
    if total < _SHORTEST_DEADLINE:
        raise refuse(
            "invalid_header", "Cancel-After", f"Cancel-After must be at least {_SHORTEST_DEADLINE} seconds"
        )
    return total


def parse_prefer_wait(text: str) -> int | None:
    """Seconds of a `Prefer: wait[=n]` header, 60 where it names none; None where the caller does not want to
    wait.
    """
    found = _WAIT.search(text.lower())
    if not found:
        return None
    return min(int(found.group(1)), _LONGEST_WAIT) if found.group(1) else _LONGEST_WAIT


def _problem_of(error: ValidationError) -> ApiError:
    entries = error.errors(include_url=False, include_input=False)
    return refuse_all([_invalid_field(entry) for entry in entries])


def _invalid_field(entry: Mapping[str, Any]) -> InvalidField:
    path = ".".join(str(part) for part in entry["loc"])
    match entry["type"]:
        case "extra_forbidden":
            name = str(entry["loc"][-1])[:100]
            holder = ".".join(str(part) for part in entry["loc"][:-1])
            return InvalidField(
                "additional_property_not_allowed", holder, f"Additional property {name} is not allowed"
            )
        case "missing":
            return InvalidField("required", path, f"{path} is required")
        case "string_pattern_mismatch" if entry["loc"][-1] == "version":
            return InvalidField(
                "invalid_version", path, f"{path} must be a 64-digit id, owner/name, or owner/name:id"
            )
        case "string_pattern_mismatch" if entry["loc"][-1] in {"model", "deployment"}:
            return InvalidField("invalid_name", path, f"{path} must be owner/name")
        case kind:
            return InvalidField(str(kind), path, str(entry["msg"]).removeprefix("Value error, "))


def _depth(value: Any) -> int:
    """Levels of nesting, without recursion: hostile bodies are as deep as they like."""
    deepest, open_ = 0, [(value, 1)]
    while open_:
        current, level = open_.pop()
        deepest = max(deepest, level)
        if level > _DEEPEST:
            break
        if isinstance(current, dict):
            open_ += [(entry, level + 1) for entry in current.values()]
        elif isinstance(current, list):
            open_ += [(entry, level + 1) for entry in current]
    return deepest
