"""File names and media types as they can stand in a header. Pure.

An input file. Pure.

What the files need from outside.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping


MAX_FILE_NAME_BYTES = 255  # bytes (OpenAPI document, files.create)
_MEDIA_TYPE = re.compile(r"[a-z0-9.+-]{1,64}/[a-z0-9.+-]{1,64}", re.ASCII)


def sanitize_file_name(name: str) -> str:
    """The last part of a path, without control characters. Raises ValueError where it is too long."""
    last = name.replace("\\", "/").rpartition("/")[2]
    plain = "".join(character for character in last if character.isprintable()).strip() or "file"
    if len(plain.encode("utf-8", "replace")) > MAX_FILE_NAME_BYTES:
        raise ValueError(f"must not be longer than {MAX_FILE_NAME_BYTES} bytes")
    return plain


def normalize_media_type(text: str) -> str:
    """Without parameters; plain bytes where the text is not a media type."""
    kind = text.partition(";")[0].strip().lower()
    return kind if _MEDIA_TYPE.fullmatch(kind) else "application/octet-stream"


# As at Replicate, whose recorded replies have an `expires_at` one day after `created_at`.
FILE_LIFETIME = timedelta(hours=24)


@dataclass(frozen=True)
class StoredFile:
    """`size` in bytes. A file that its owner still has to upload has neither size nor checksums."""

    id: str
    tenant: str
    name: str
    content_type: str
    created_at: datetime
    expires_at: datetime
    size_bytes: int | None = None
    checksums: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def object_key(self) -> str:
        return build_object_key(self.tenant, self.id)

    @property
    def is_uploaded(self) -> bool:
        return self.size_bytes is not None


def build_object_key(tenant: str, file_id: str) -> str:
    """Where the bytes lie in the bucket."""
    return f"files/{tenant}/{file_id}"


@dataclass(frozen=True)
class FilePage:
    """Files of one tenant, newest first; `next_before` is the id to go on below, None on the last page."""

    files: tuple[StoredFile, ...]
    next_before_id: str | None


class FileStore(Protocol):
    """The records of files. A record that is past its `expires_at` may or may not still be there."""

    def save(self, file: StoredFile) -> None: ...

    def get(self, tenant: str, file_id: str) -> StoredFile | None: ...

    def list_files(self, tenant: str, *, before_id: str | None, limit: int) -> FilePage:
        """Files that are uploaded."""

    def list_pending(self, tenant: str, *, limit: int) -> tuple[StoredFile, ...]:
        """Files that were announced and not yet seen, newest first."""

    def delete(self, file: StoredFile) -> None: ...


@dataclass(frozen=True)
class ObjectMetadata:
    """What the object store knows of an object: bytes, and MD5 in hex where it is known."""

    size_bytes: int
    md5: str | None


@dataclass(frozen=True)
class UploadForm:
    """A form that anybody who holds it may post once filled with the file, as multipart/form-data."""

    url: str
    fields: Mapping[str, str]


class FileObjects(Protocol):
    """The bytes of files."""

    def put(self, file: StoredFile, content: bytes) -> None: ...

    def get_metadata(self, key: str) -> ObjectMetadata | None:
        """None where there is no such object."""

    def delete(self, key: str) -> None: ...

    def create_download_url(self, file: StoredFile, *, lifetime: timedelta) -> str:
        """An address that gives the bytes to whoever holds it, as a download and never inline."""

    def create_upload_form(
        self, file: StoredFile, *, allowed_sizes: range, lifetime: timedelta
    ) -> UploadForm:
        """A form for exactly this key and content type and a size within `sizes`."""
