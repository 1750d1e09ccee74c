"""Bodies of batches, and lines of their input files."""

from __future__ import annotations

import re
from typing import Annotated, Self

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from replicate_proxy.api.predictions.bodies import NAME, CreatePredictionBody, Url, Version, WebhookEvents
from replicate_proxy.api.validation import RequestBody
from replicate_proxy.jobs.model import MAX_BATCH_JOBS

_FULL_NAME_PATTERN = re.compile(rf"{NAME}/{NAME}")


def _require_full_name(text: str) -> str:
    if not _FULL_NAME_PATTERN.fullmatch(text):
        raise PydanticCustomError("invalid_name", "must be owner/name")
    return text


_FullName = Annotated[str, AfterValidator(_require_full_name)]


class BatchEntryBody(CreatePredictionBody):
    """One prediction of a batch, for exactly one of a version, a model and a deployment."""

    version: Version | None = None
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
    webhook: Url | None = None


class CreateBatchBody(RequestBody):
    """A batch. `webhook` and `webhook_events_filter` apply to entries without a webhook of their own."""

    model_config = ConfigDict(strict=True)

    predictions: Annotated[list[BatchEntryBody], Field(min_length=1, max_length=MAX_BATCH_JOBS)]
    webhook: Url | None = None
    webhook_events_filter: WebhookEvents | None = None
