"""Interfaces to the records of input files and to their content."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta

    from replicate_proxy.files.model import StoredFile
    from replicate_proxy.files.multipart import MultipartUpload, UploadedPart


@dataclass(frozen=True)
class FilePage:
    """Files of one tenant, newest first.

    The next page holds the files before `next_before_id`, which is None on the last page.
    """

    files: tuple[StoredFile, ...]
    next_before_id: str | None


class FileStore(Protocol):
    """The records of files. A record may still exist after its `expires_at`."""

    def save(self, file: StoredFile, *, was_pending: bool = False) -> None:
        """Save the record. `was_pending` once the upload of a file with a record is noticed.

        Then it raises ConflictError if there is no record of a pending file (any more).
        """

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


@dataclass(frozen=True)
class PartUpload:
    """A part to send with PUT; the URL accepts exactly `size_bytes`, and its signature is the credential."""

    number: int
    size_bytes: int
    url: str


class FileObjects(Protocol):
    """The content of files."""

    def put(self, file: StoredFile, content: bytes) -> None: ...

    def get_metadata(self, key: str) -> ObjectMetadata | None:
        """Return None if there is no such object."""

    def delete(self, key: str) -> None: ...

    def create_download_url(self, file: StoredFile, *, lifetime: timedelta, method: str = "GET") -> str:
        """Return a URL that needs no other credential and serves the content as an attachment.

        It is valid for this method only: GET or HEAD.
        """

    def create_upload_form(
        self, file: StoredFile, *, allowed_sizes: range, lifetime: timedelta
    ) -> UploadForm:
        """Return a form for the file's key and content type and a size in bytes within `allowed_sizes`."""

    def start_multipart_upload(self, file: StoredFile) -> str:
        """Return the ID of a new upload in parts."""

    def create_part_upload(
        self, key: str, upload: MultipartUpload, number: int, *, lifetime: timedelta
    ) -> PartUpload: ...

    def list_parts(self, key: str, upload: MultipartUpload) -> Mapping[int, UploadedPart]:
        """Return the uploaded parts by number. Raises NotFoundError if the upload is completed or aborted."""

    def complete_multipart_upload(
        self, key: str, upload: MultipartUpload, parts: Mapping[int, UploadedPart]
    ) -> None:
        """Make the parts one object. Raises NotFoundError if the upload is completed or aborted."""

    def abort_multipart_upload(self, key: str, upload: MultipartUpload) -> None:
        """Delete all parts; does nothing if the upload is completed or aborted already."""
