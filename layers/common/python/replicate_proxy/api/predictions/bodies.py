"""Bodies of create requests, validated as Replicate does (OpenAPI document, POST /predictions)."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints
from pydantic_core import PydanticCustomError

from replicate_proxy.api.validation import RequestBody
from replicate_proxy.json_tree import is_deeper_than

_MAX_INPUT_DEPTH = 64

# One owner or name, as it appears in URLs.
NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}"
_NAME_PATTERN = re.compile(NAME)
_VERSION_PATTERN = re.compile(rf"[0-9a-f]{{64}}|{NAME}/{NAME}(?::[0-9a-f]{{64}})?")


def is_name(text: str) -> bool:
    """Return whether the text can be the owner or the name of a model or deployment."""
    return _NAME_PATTERN.fullmatch(text) is not None


def _require_version(text: str) -> str:
    if not _VERSION_PATTERN.fullmatch(text):
        raise PydanticCustomError("invalid_version", "must be a 64-digit ID, owner/name, or owner/name:id")
    return text


def _limit_depth(value: dict[str, Any]) -> dict[str, Any]:
    if is_deeper_than(value, _MAX_INPUT_DEPTH):
        raise ValueError(f"must not be nested deeper than {_MAX_INPUT_DEPTH} levels")
    return value


Version = Annotated[str, AfterValidator(_require_version)]
ModelInput = Annotated[dict[str, Any], AfterValidator(_limit_depth)]
Url = Annotated[str, StringConstraints(max_length=2048)]
WebhookEvents = Annotated[list[Literal["start", "output", "logs", "completed"]], Field(max_length=4)]


class CreatePredictionBody(RequestBody):
    """A create by model or deployment, which the URL names.

    `stream`, which Replicate has deprecated, says that the caller reads the stream of the prediction.
    `webhook_completed` is the older form of a webhook for the event `completed` only.
    """

    model_config = ConfigDict(strict=True)

    input: ModelInput
    stream: bool | None = None
    webhook: Url | None = None
    webhook_completed: Url | None = None
    webhook_events_filter: WebhookEvents | None = None


class CreatePredictionByVersionBody(CreatePredictionBody):
    """A create by version: a 64-digit ID, `owner/name`, or `owner/name:id`."""

    version: Version
