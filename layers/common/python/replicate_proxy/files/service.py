"""Use cases of input files: upload, list, read, delete and download."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from replicate_proxy.errors import ApiError, ConflictError, NotFoundError, field_error
from replicate_proxy.files.model import FILE_LIFETIME, StoredFile
from replicate_proxy.files.multipart import MultipartUpload
from replicate_proxy.ids import generate_id, is_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from replicate_proxy.files.ports import FileObjects, FilePage, FileStore, PartUpload, UploadForm
    from replicate_proxy.files.signed_downloads import SignedDownload
    from replicate_proxy.ports import Clock


_DOWNLOAD_URL_LIFETIME = timedelta(minutes=15)
_PAGE_SIZE = 100
_MAX_PENDING_CHECKS = 10
_MAX_LISTED_PARTS = 10
_MEBIBYTE = 1024 * 1024  # bytes


@dataclass(frozen=True)
class FileSettings:
    """Limits of uploads that go to the object store directly; a file above `max_form_bytes` goes in parts."""

    max_upload_bytes: int = 5 * 1024 * _MEBIBYTE
    max_form_bytes: int = 100 * _MEBIBYTE
    upload_form_lifetime: timedelta = timedelta(minutes=15)
    part_upload_lifetime: timedelta = timedelta(hours=1)


class FileService:
    """Manages input files. Every call names the tenant; the files of other tenants do not exist for it."""

    def __init__(
        self,
        *,
        store: FileStore,
        objects: FileObjects,
        load_signing_key: Callable[[], bytes],
        clock: Clock,
        settings: FileSettings,
    ) -> None:
        self._store = store
        self._objects = objects
        self._load_signing_key = load_signing_key
        self._clock = clock
        self._settings = settings

    def create(
        self, tenant: str, content: bytes, *, name: str, content_type: str, metadata: Mapping[str, Any]
    ) -> StoredFile:
        """Store a file whose content came with the request.

        The record is written last, so that there is none without content.
        """
        checksums = {
            "sha256": hashlib.sha256(content).hexdigest(),
            "md5": hashlib.md5(content, usedforsecurity=False).hexdigest(),
        }
        file = replace(
            self._build_file(tenant, name, content_type, metadata),
            size_bytes=len(content),
            checksums=checksums,
        )
        self._objects.put(file, content)
        self._store.save(file)
        return file

    def create_upload(
        self,
        tenant: str,
        *,
        name: str,
        content_type: str,
        metadata: Mapping[str, Any],
        size_bytes: int | None = None,
    ) -> tuple[StoredFile, UploadForm | tuple[PartUpload, ...]]:
        """Return a pending file, and how the caller uploads it to the object store: by a form, or in parts.

        Without `size_bytes` it is a form. Either accepts only `size_bytes`, if given. Raises a 422 ApiError
        if the file is too large.
        """
        max_bytes = self._settings.max_upload_bytes
        if (size_bytes or 0) > max_bytes:
            raise field_error("size", f"must not be larger than {max_bytes} bytes", error_type="too_large")
        file = self._build_file(tenant, name, content_type, metadata)
        if size_bytes is not None and size_bytes > self._settings.max_form_bytes:
            return self._start_multipart_upload(file, size_bytes)
        max_bytes = min(max_bytes, self._settings.max_form_bytes)
        form = self._objects.create_upload_form(
            file,
            allowed_sizes=range(size_bytes or 1, (size_bytes or max_bytes) + 1),
            lifetime=self._settings.upload_form_lifetime,
        )
        self._store.save(file)
        return file, form

    def resume_upload(self, tenant: str, file_id: str) -> tuple[StoredFile, tuple[PartUpload, ...]]:
        """Return a file that is being uploaded in parts, and new URLs of those that are missing.

        Raises NotFoundError if there is no such upload (any more).
        """
        file = self.get(tenant, file_id)
        if file.multipart is None:
            raise NotFoundError("no such upload")
        uploaded = self._objects.list_parts(file.object_key, file.multipart)
        return file, self._create_part_uploads(file, file.multipart.find_missing_parts(uploaded))

    def complete_upload(self, tenant: str, file_id: str) -> StoredFile:
        """Make the parts of an upload one file and return it; an uploaded file is returned as it is.

        Raises NotFoundError if there is no such upload, a 409 ApiError if parts are missing.
        """
        file = self.get(tenant, file_id)
        if file.is_uploaded:
            return file
        if file.multipart is None:
            raise NotFoundError("no such upload")
        try:
            self._complete_multipart_upload(file, file.multipart)
        except NotFoundError:
            # Another request has completed it, or this one, whose response was lost. Or it was aborted.
            completed = self._record_upload(file)
            if completed is None:
                raise
            return completed
        return self._record_upload(file) or file

    def get(self, tenant: str, file_id: str) -> StoredFile:
        """Return a file. Raises NotFoundError if it is unknown, another tenant's, or expired."""
        file = self._store.get(tenant, file_id) if is_id(file_id) else None
        if file is None or file.expires_at <= self._clock.now():
            raise NotFoundError("no such file")
        return file if file.is_uploaded else (self._record_upload(file) or file)

    def list_files(self, tenant: str, *, before_id: str | None = None) -> FilePage:
        """Return a page of uploaded files; the first page includes uploads that finished unnoticed."""
        if before_id is None:
            for file in self._store.list_pending(tenant, limit=_MAX_PENDING_CHECKS):
                with suppress(NotFoundError):
                    self._record_upload(file)
        page = self._store.list_files(tenant, before_id=before_id, limit=_PAGE_SIZE)
        now = self._clock.now()
        return replace(page, files=tuple(file for file in page.files if file.expires_at > now))

    def delete(self, tenant: str, file_id: str) -> None:
        """Delete a file, uploaded or not.

        The content goes first: while the record exists, the deletion can be repeated.
        """
        file = self.get(tenant, file_id)
        if file.multipart is not None:
            self._objects.abort_multipart_upload(file.object_key, file.multipart)
        self._objects.delete(file.object_key)
        self._store.delete(file)

    def create_download_url(self, download: SignedDownload, *, method: str = "GET") -> str:
        """Return a URL of the content for the holder of a signed download URL, valid for GET or HEAD.

        Raises NotFoundError if the URL is forged or expired, or the file is gone or not uploaded yet.
        """
        if not download.has_valid_signature(self._load_signing_key()) or download.is_expired(
            self._clock.now()
        ):
            raise NotFoundError("no such file")
        file = self.get(download.owner, download.file_id)
        if not file.is_uploaded:
            raise NotFoundError("the file is not uploaded yet")
        return self._objects.create_download_url(file, lifetime=_DOWNLOAD_URL_LIFETIME, method=method)

    def _start_multipart_upload(
        self, file: StoredFile, size_bytes: int
    ) -> tuple[StoredFile, tuple[PartUpload, ...]]:
        """Start the upload and save the file.

        A crash in between leaves an upload without parts, which the bucket's lifecycle rule aborts.
        """
        upload = MultipartUpload.plan(self._objects.start_multipart_upload(file), size_bytes)
        file = replace(file, multipart=upload)
        self._store.save(file)
        return file, self._create_part_uploads(file, upload.part_sizes)

    def _complete_multipart_upload(self, file: StoredFile, upload: MultipartUpload) -> None:
        """Raise NotFoundError if the upload has ended, a 409 ApiError if parts are missing."""
        uploaded = self._objects.list_parts(file.object_key, upload)
        missing = upload.find_missing_parts(uploaded)
        if missing:
            numbers = ", ".join(str(number) for number in list(missing)[:_MAX_LISTED_PARTS])
            raise ApiError(
                409,
                "Upload incomplete",
                f"{len(missing)} parts are missing or have another size than announced, among them {numbers}",
            )
        parts = {number: uploaded[number] for number in upload.part_sizes}
        self._objects.complete_multipart_upload(file.object_key, upload, parts)

    def _create_part_uploads(self, file: StoredFile, numbers: Iterable[int]) -> tuple[PartUpload, ...]:
        if file.multipart is None:
            return ()
        lifetime = self._settings.part_upload_lifetime
        return tuple(
            self._objects.create_part_upload(file.object_key, file.multipart, number, lifetime=lifetime)
            for number in numbers
        )

    def _build_file(
        self, tenant: str, name: str, content_type: str, metadata: Mapping[str, Any]
    ) -> StoredFile:
        now = self._clock.now()
        return StoredFile(
            id=generate_id(now),
            tenant=tenant,
            name=name,
            content_type=content_type,
            created_at=now,
            expires_at=now + FILE_LIFETIME,
            metadata=metadata,
        )

    def _record_upload(self, file: StoredFile) -> StoredFile | None:
        """Record the size and checksum of a pending file; return None if its content is not uploaded yet.

        Raises NotFoundError if another request has deleted the file meanwhile.
        """
        metadata = self._objects.get_metadata(file.object_key)
        if metadata is None:
            return None
        uploaded_file = replace(
            file,
            size_bytes=metadata.size_bytes,
            checksums={"md5": metadata.md5} if metadata.md5 else {},
            multipart=None,
        )
        try:
            self._store.save(uploaded_file, was_pending=True)
        except ConflictError:  # Another request has recorded the upload, or deleted the file.
            current = self._store.get(file.tenant, file.id)
            if current is None:
                raise NotFoundError("no such file") from None
            return current
        return uploaded_file
