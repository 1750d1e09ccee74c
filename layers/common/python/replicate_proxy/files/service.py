"""Uploading, listing, fetching and deleting a tenant's input files."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from replicate_proxy.api.validation import field_error
from replicate_proxy.errors import NotFoundError
from replicate_proxy.files.model import FILE_LIFETIME, StoredFile
from replicate_proxy.ids import generate_id, is_id

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicate_proxy.api.files import CreateUploadBody
    from replicate_proxy.api.multipart_form import FileForm
    from replicate_proxy.files.model import FileObjects, FilePage, FileStore, UploadForm
    from replicate_proxy.files.signed_downloads import SignedDownload
    from replicate_proxy.ports import Clock


_DOWNLOAD_LIFETIME = timedelta(minutes=15)
_PAGE = 100
_AWAITED_LOOKED_AT = 10


@dataclass(frozen=True)
class FileSettings:
    """`largest_upload` in bytes; an upload form is good for `form_lifetime`."""

    max_upload_bytes: int = 100 * 1024 * 1024
    upload_form_lifetime: timedelta = timedelta(minutes=15)


class FileService:
    """Everything is asked for by tenant: another tenant's file does not exist."""

    def __init__(
        self,
        *,
        store: FileStore,
        objects: FileObjects,
        signing_key: Callable[[], bytes],
        clock: Clock,
        settings: FileSettings,
    ) -> None:
        self._store = store
        self._objects = objects
        self._signing_key = signing_key
        self._clock = clock
        self._settings = settings

    def create(self, tenant: str, form: FileForm) -> StoredFile:
        """Stores bytes that came with the request. The record comes last: there is none without its bytes."""
        checksums = {
            "sha256": hashlib.sha256(form.content).hexdigest(),
            "md5": hashlib.md5(form.content, usedforsecurity=False).hexdigest(),
        }
        file = replace(
            self._new(tenant, form.name, form.content_type),
            size_bytes=len(form.content),
            checksums=checksums,
            metadata=form.metadata,
        )
        self._objects.put(file, form.content)
        self._store.save(file)
        return file

    def create_upload(self, tenant: str, request: CreateUploadBody) -> tuple[StoredFile, UploadForm]:
        """A form for a file that the caller posts straight to the object store."""
        largest = self._settings.max_upload_bytes
        if (request.size or 0) > largest:
            raise field_error("size", f"must not be larger than {largest} bytes", error_type="too_large")
        file = replace(
            self._new(tenant, request.filename, request.content_type), metadata=dict(request.metadata)
        )
        sizes = range(request.size or 1, (request.size or largest) + 1)
        form = self._objects.create_upload_form(
            file, allowed_sizes=sizes, lifetime=self._settings.upload_form_lifetime
        )
        self._store.save(file)
        return file, form

    def get(self, tenant: str, file_id: str) -> StoredFile:
        """Raises NotFoundError for a file that is unknown, another's, or past its time."""
        file = self._store.get(tenant, file_id) if is_id(file_id) else None
        if file is None or file.expires_at <= self._clock.now():
            raise NotFoundError("no such file")
        return file if file.is_uploaded else (self._seen(file) or file)

    def list_files(self, tenant: str, *, before_id: str | None = None) -> FilePage:
        if before_id is None:
            for file in self._store.list_pending(tenant, limit=_AWAITED_LOOKED_AT):
                self._seen(file)
        page = self._store.list_files(tenant, before_id=before_id, limit=_PAGE)
        now = self._clock.now()
        return replace(page, files=tuple(file for file in page.files if file.expires_at > now))

    def delete(self, tenant: str, file_id: str) -> None:
        """Bytes go first: a record without bytes can be deleted again, not the other way round."""
        file = self.get(tenant, file_id)
        self._objects.delete(file.object_key)
        self._store.delete(file)

    def create_download_url(self, ticket: SignedDownload) -> str:
        """Where the bytes are, for who holds a signed address; every failure is the same NotFoundError."""
        if not ticket.has_valid_signature(self._signing_key()) or ticket.is_expired(self._clock.now()):
            raise NotFoundError("no such file")
        file = self.get(ticket.owner, ticket.file_id)
        if not file.is_uploaded:
            raise NotFoundError("not uploaded yet")
        return self._objects.create_download_url(file, lifetime=_DOWNLOAD_LIFETIME)

    def _new(self, tenant: str, name: str, content_type: str) -> StoredFile:
        now = self._clock.now()
        return StoredFile(
            id=generate_id(now),
            tenant=tenant,
            name=name,
            content_type=content_type,
            created_at=now,
            expires_at=now + FILE_LIFETIME,
        )

    def _seen(self, file: StoredFile) -> StoredFile | None:
        """The announced file with its size, once its bytes are there."""
        facts = self._objects.get_metadata(file.object_key)
        if facts is None:
            return None
        found = replace(file, size_bytes=facts.size_bytes, checksums={"md5": facts.md5} if facts.md5 else {})
        self._store.save(found)
        return found
