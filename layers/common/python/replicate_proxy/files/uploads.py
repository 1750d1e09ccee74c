"""The body of POST /v1/uploads. Pure."""

from __future__ import annotations

import json
from typing import Annotated, Any

from pydantic import AfterValidator, Field, StringConstraints

from replicate_proxy.files.names import media_type, plain_name
from replicate_proxy.validation import Body

__all__ = ["UploadRequest"]

_LARGEST_METADATA = 16 * 1024


def _small(metadata: dict[str, Any]) -> dict[str, Any]:
    if len(json.dumps(metadata)) > _LARGEST_METADATA:
        raise ValueError(f"must not be larger than {_LARGEST_METADATA} bytes")
    return metadata


class UploadRequest(Body):
    """What the caller is about to upload; `size` in bytes, where given, is the only one accepted."""

    filename: Annotated[str, AfterValidator(plain_name)]
    content_type: Annotated[str, StringConstraints(max_length=200), AfterValidator(media_type)] = (
        "application/octet-stream"
    )
    size: Annotated[int, Field(ge=1)] | None = None
    metadata: Annotated[dict[str, Any], AfterValidator(_small)] = Field(default_factory=dict)
