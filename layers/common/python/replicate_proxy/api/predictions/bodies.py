"""Bodies of create requests, validated as Replicate does (OpenAPI document, POST /predictions)."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from replicate_proxy.api.validation import RequestBody
from replicate_proxy.jobs.model import MAX_BATCH_JOBS
from replicate_proxy.json_tree import is_deeper_than

_MAX_INPUT_DEPTH = 64

# One owner or name, as it appears in URLs.
_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}"
_NAME_PATTERN = re.compile(_NAME)
_FULL_NAME_PATTERN = re.compile(rf"{_NAME}/{_NAME}")
_VERSION_PATTERN = re.compile(rf"[0-9a-f]{{64}}|{_NAME}/{_NAME}(?::[0-9a-f]{{64}})?")


def is_name(text: str) -> bool:
    """Return whether the text can be the owner or the name of a model or deployment."""
    return _NAME_PATTERN.fullmatch(text) is not None


def _require_full_name(text: str) -> str:
    if not _FULL_NAME_PATTERN.fullmatch(text):
        raise PydanticCustomError("invalid_name", "must be owner/name")
    return text


def _require_version(text: str) -> str:
    if not _VERSION_PATTERN.fullmatch(text):
        raise PydanticCustomError("invalid_version", "must be a 64-digit ID, owner/name, or owner/name:id")
    return text


def _limit_depth(value: dict[str, Any]) -> dict[str, Any]:
    if is_deeper_than(value, _MAX_INPUT_DEPTH):
        raise ValueError(f"must not be nested deeper than {_MAX_INPUT_DEPTH} levels")
    return value


_FullName = Annotated[str, AfterValidator(_require_full_name)]
_Version = Annotated[str, AfterValidator(_require_version)]
_Input = Annotated[dict[str, Any], AfterValidator(_limit_depth)]
_Url = Annotated[str, StringConstraints(max_length=2048)]
_WebhookEvents = Annotated[list[Literal["start", "output", "logs", "completed"]], Field(max_length=4)]


class CreatePredictionBody(RequestBody):
    """A create by model or deployment, which the URL names.

    `stream`, which Replicate has deprecated, says that the caller reads the stream of the prediction.
    `webhook_completed` is the older form of a webhook for the event `completed` only.
    """

    model_config = ConfigDict(strict=True)

    input: _Input
    stream: bool | None = None
    webhook: _Url | None = None
    webhook_completed: _Url | None = None
    webhook_events_filter: _WebhookEvents | None = None


class CreatePredictionByVersionBody(CreatePredictionBody):
    """A create by version: a 64-digit ID, `owner/name`, or `owner/name:id`."""

    version: _Version


class BatchEntryBody(CreatePredictionBody):
    """One prediction of a batch, for exactly one of a version, a model and a deployment."""

    version: _Version | None = None
    model: _FullName | None = None
    deployment: _FullName | None = None

    @model_validator(mode="after")
    def _require_one_target(self) -> Self:
        if sum(target is not None for target in (self.version, self.model, self.deployment)) != 1:
            raise ValueError("must have exactly one of version, model and deployment")
        return self


class BatchLineBody(BatchEntryBody):
    """One line of the input file of a large batch."""

    custom_id: Annotated[str, StringConstraints(min_length=1, max_length=128)]


class CreateLargeBatchBody(RequestBody):
    """A batch from a file. The webhook is sent once, when the batch is completed."""

    model_config = ConfigDict(strict=True)

    input_file: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    webhook: _Url | None = None


class CreateBatchBody(RequestBody):
    """A batch. `webhook` and `webhook_events_filter` apply to entries without a webhook of their own."""

    model_config = ConfigDict(strict=True)

    predictions: Annotated[list[BatchEntryBody], Field(min_length=1, max_length=MAX_BATCH_JOBS)]
    webhook: _Url | None = None
    webhook_events_filter: _WebhookEvents | None = None
