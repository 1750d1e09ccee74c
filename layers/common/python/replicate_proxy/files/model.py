"""Input files, and the normalization of the names and media types that callers send."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from replicate_proxy.files.multipart import MultipartUpload


# As at Replicate, whose recorded responses have an `expires_at` one day after `created_at`.
FILE_LIFETIME = timedelta(hours=24)
MAX_FILE_NAME_BYTES = 255  # Replicate's OpenAPI document, files.create
_MEDIA_TYPE_PATTERN = re.compile(r"[a-z0-9.+-]{1,64}/[a-z0-9.+-]{1,64}", re.ASCII)


@dataclass(frozen=True)
class StoredFile:
    """The record of a file. As long as its content is not uploaded, it has neither size nor checksums.

    `multipart` is set while the content is being uploaded in parts.
    """

    id: str
    tenant: str
    name: str
    content_type: str
    created_at: datetime
    expires_at: datetime
    size_bytes: int | None = None
    checksums: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    multipart: MultipartUpload | None = None

    @property
    def object_key(self) -> str:
        """The key of the content in the bucket."""
        return f"files/{self.tenant}/{self.id}"

    @property
    def is_uploaded(self) -> bool:
        return self.size_bytes is not None


def sanitize_file_name(name: str) -> str:
    """Return the last part of a path without control characters, or `file` if nothing remains.

    Raises ValueError if it is too long.
    """
    last_part = name.replace("\\", "/").rpartition("/")[2]
    sanitized = "".join(character for character in last_part if character.isprintable()).strip() or "file"
    if len(sanitized.encode("utf-8", "replace")) > MAX_FILE_NAME_BYTES:
        raise ValueError(f"must not be longer than {MAX_FILE_NAME_BYTES} bytes")
    return sanitized


def normalize_media_type(text: str) -> str:
    """Return the media type without parameters; application/octet-stream if the text is not a media type."""
    media_type = text.partition(";")[0].strip().lower()
    return media_type if _MEDIA_TYPE_PATTERN.fullmatch(media_type) else "application/octet-stream"
