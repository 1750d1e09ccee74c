"""Bodies of the webhook API, checked field by field. Pure."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AwareDatetime, Field, StringConstraints

from replicate_proxy.api.validation import RequestBody
from replicate_proxy.webhooks.signing_secrets import MAX_ROTATION_OVERLAP

_MAX_OVERLAP_SECONDS = int(MAX_ROTATION_OVERLAP / timedelta(seconds=1))
_Url = Annotated[str, StringConstraints(min_length=1, max_length=2048)]
_Events = Annotated[tuple[Literal["start", "output", "logs", "completed"], ...], Field(max_length=4)]
_Description = Annotated[str, StringConstraints(max_length=500)]
_Cursor = Annotated[str, StringConstraints(max_length=1024)]


class CreateEndpointBody(RequestBody):
    """POST /v1/webhooks/endpoints; no `events` means all of them."""

    url: _Url
    events: _Events = ()
    description: _Description = ""


class UpdateEndpointBody(RequestBody):
    """PATCH /v1/webhooks/endpoints/{id}: fields that are absent stay as they are."""

    url: _Url | None = None
    events: _Events | None = None
    description: _Description | None = None
    enabled: bool | None = None


class RotateSecretBody(RequestBody):
    """How long the old secret signs beside the new one: 0 to 7 days, a day where nothing is said."""

    overlap_seconds: Annotated[int, Field(ge=0, le=_MAX_OVERLAP_SECONDS)] = 24 * 3600


class EnableEndpointBody(RequestBody):
    """POST /v1/webhooks/endpoints/{id}/enable; `redeliver` false lets what was missed lie."""

    redeliver: bool = True


class RedeliverBody(RequestBody):
    """All failed deliveries of events since a time; `cursor` goes on where an earlier call stopped."""

    since: AwareDatetime
    cursor: _Cursor | None = None
