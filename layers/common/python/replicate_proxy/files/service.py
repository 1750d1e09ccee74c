"""Use cases of input files: upload, list, read, delete and download."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from replicate_proxy.errors import NotFoundError, field_error
from replicate_proxy.files.model import FILE_LIFETIME, StoredFile
from replicate_proxy.ids import generate_id, is_id

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from replicate_proxy.files.ports import FileObjects, FilePage, FileStore, UploadForm
    from replicate_proxy.files.signed_downloads import SignedDownload
    from replicate_proxy.ports import Clock


_DOWNLOAD_URL_LIFETIME = timedelta(minutes=15)
_PAGE_SIZE = 100
_MAX_PENDING_CHECKS = 10


@dataclass(frozen=True)
class FileSettings:
    """Limits of uploads that go to the object store directly."""

    max_upload_bytes: int = 100 * 1024 * 1024
    upload_form_lifetime: timedelta = timedelta(minutes=15)


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
    ) -> tuple[StoredFile, UploadForm]:
        """Return a pending file, and the form with which the caller uploads it to the object store.

        The form accepts only `size_bytes`, if given. Raises a 422 ApiError if the file is too large.
        """
        max_bytes = self._settings.max_upload_bytes
        if (size_bytes or 0) > max_bytes:
            raise field_error("size", f"must not be larger than {max_bytes} bytes", error_type="too_large")
        file = self._build_file(tenant, name, content_type, metadata)
        form = self._objects.create_upload_form(
            file,
            allowed_sizes=range(size_bytes or 1, (size_bytes or max_bytes) + 1),
            lifetime=self._settings.upload_form_lifetime,
        )
        self._store.save(file)
        return file, form

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
                self._record_upload(file)
        page = self._store.list_files(tenant, before_id=before_id, limit=_PAGE_SIZE)
        now = self._clock.now()
        return replace(page, files=tuple(file for file in page.files if file.expires_at > now))

    def delete(self, tenant: str, file_id: str) -> None:
        """Delete a file. The content goes first: while the record exists, the deletion can be repeated."""
        file = self.get(tenant, file_id)
        self._objects.delete(file.object_key)
        self._store.delete(file)

    def create_download_url(self, download: SignedDownload) -> str:
        """Return a URL of the content for the holder of a signed download URL.

        Raises NotFoundError if the URL is forged or expired, or the file is gone or not uploaded yet.
        """
        if not download.has_valid_signature(self._load_signing_key()) or download.is_expired(
            self._clock.now()
        ):
            raise NotFoundError("no such file")
        file = self.get(download.owner, download.file_id)
        if not file.is_uploaded:
            raise NotFoundError("the file is not uploaded yet")
        return self._objects.create_download_url(file, lifetime=_DOWNLOAD_URL_LIFETIME)

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
        """Record the size and checksum of a pending file; return None if its content is not uploaded yet."""
        metadata = self._objects.get_metadata(file.object_key)
        if metadata is None:
            return None
        uploaded_file = replace(
            file,
            size_bytes=metadata.size_bytes,
            checksums={"md5": metadata.md5} if metadata.md5 else {},
        )
        self._store.save(uploaded_file)
        return uploaded_file
