"""Bodies of the webhook API."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from replicate_proxy.api.validation import RequestBody, UtcTime
from replicate_proxy.webhooks.signing_secrets import MAX_ROTATION_OVERLAP

_DAY_SECONDS = 24 * 3600
_MAX_OVERLAP_SECONDS = int(MAX_ROTATION_OVERLAP / timedelta(seconds=1))

_Url = Annotated[str, StringConstraints(min_length=1, max_length=2048)]
_Event = Literal["start", "output", "logs", "completed", "batch.completed"]
_Events = Annotated[tuple[_Event, ...], Field(max_length=5)]
_Description = Annotated[str, StringConstraints(max_length=500)]


class CreateEndpointBody(RequestBody):
    """POST /v1/webhooks/endpoints. Empty `events` subscribes to all of them."""

    url: _Url
    events: _Events = ()
    description: _Description = ""


class UpdateEndpointBody(RequestBody):
    """PATCH /v1/webhooks/endpoints/{endpoint_id}. Fields that are missing or null stay as they are."""

    url: _Url | None = None
    events: _Events | None = None
    description: _Description | None = None
    enabled: bool | None = None


class RotateSecretBody(RequestBody):
    """Rotation of a signing secret: how long the old secret signs beside the new one, 0 to 7 days."""

    overlap_seconds: Annotated[int, Field(ge=0, le=_MAX_OVERLAP_SECONDS)] = _DAY_SECONDS


class EnableEndpointBody(RequestBody):
    """POST /v1/webhooks/endpoints/{endpoint_id}/enable. `redeliver` sends the events it missed."""

    redeliver: bool = True


class RedeliverBody(RequestBody):
    """Redelivery of all failed deliveries of events since a time; `cursor` continues an earlier call."""

    since: UtcTime
    cursor: str | None = None
