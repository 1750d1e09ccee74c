"""What the files need from outside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta

    from replicate_proxy.files.model import StoredFile

__all__ = ["FileObjects", "FilePage", "FileStore", "ObjectFacts", "UploadForm"]


@dataclass(frozen=True)
class FilePage:
    """Files of one tenant, newest first; `next_before` is the id to go on below, None on the last page."""

    files: tuple[StoredFile, ...]
    next_before: str | None


class FileStore(Protocol):
    """The records of files. A record that is past its `expires_at` may or may not still be there."""

    def save(self, file: StoredFile) -> None: ...

    def get(self, tenant: str, file_id: str) -> StoredFile | None: ...

    def page(self, tenant: str, *, below: str | None, limit: int) -> FilePage:
        """Files that are uploaded."""

    def awaited(self, tenant: str, *, limit: int) -> tuple[StoredFile, ...]:
        """Files that were announced and not yet seen, newest first."""

    def delete(self, file: StoredFile) -> None: ...


@dataclass(frozen=True)
class ObjectFacts:
    """What the object store knows of an object: bytes, and MD5 in hex where it is known."""

    size: int
    md5: str | None


@dataclass(frozen=True)
class UploadForm:
    """A form that anybody who holds it may post once filled with the file, as multipart/form-data."""

    url: str
    fields: Mapping[str, str]


class FileObjects(Protocol):
    """The bytes of files."""

    def put(self, file: StoredFile, content: bytes) -> None: ...

    def facts(self, key: str) -> ObjectFacts | None:
        """None where there is no such object."""

    def delete(self, key: str) -> None: ...

    def download_url(self, file: StoredFile, *, lifetime: timedelta) -> str:
        """An address that gives the bytes to whoever holds it, as a download and never inline."""

    def upload_form(self, file: StoredFile, *, sizes: range, lifetime: timedelta) -> UploadForm:
        """A form for exactly this key and content type and a size within `sizes`."""
