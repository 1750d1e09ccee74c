"""Interfaces to the records of input files and to their content."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta

    from replicate_proxy.files.model import StoredFile


@dataclass(frozen=True)
class FilePage:
    """Files of one tenant, newest first.

    The next page holds the files before `next_before_id`, which is None on the last page.
    """

    files: tuple[StoredFile, ...]
    next_before_id: str | None


class FileStore(Protocol):
    """The records of files. A record may still exist after its `expires_at`."""

    def save(self, file: StoredFile) -> None: ...

    def get(self, tenant: str, file_id: str) -> StoredFile | None: ...

    def list_files(self, tenant: str, *, before_id: str | None, limit: int) -> FilePage:
        """Return a page of uploaded files."""

    def list_pending(self, tenant: str, *, limit: int) -> tuple[StoredFile, ...]:
        """Return the newest files whose upload has not been noticed yet."""

    def delete(self, file: StoredFile) -> None: ...


@dataclass(frozen=True)
class ObjectMetadata:
    """The size of an object, and its MD5 checksum in hex if it is known."""

    size_bytes: int
    md5: str | None


@dataclass(frozen=True)
class UploadForm:
    """A form to post with a file as multipart/form-data. Its signature is the credential."""

    url: str
    fields: Mapping[str, str]


class FileObjects(Protocol):
    """The content of files."""

    def put(self, file: StoredFile, content: bytes) -> None: ...

    def get_metadata(self, key: str) -> ObjectMetadata | None:
        """Return None if there is no such object."""

    def delete(self, key: str) -> None: ...

    def create_download_url(self, file: StoredFile, *, lifetime: timedelta) -> str:
        """Return a URL that needs no other credential and serves the content as an attachment."""

    def create_upload_form(
        self, file: StoredFile, *, allowed_sizes: range, lifetime: timedelta
    ) -> UploadForm:
        """Return a form for the file's key and content type and a size in bytes within `allowed_sizes`."""
