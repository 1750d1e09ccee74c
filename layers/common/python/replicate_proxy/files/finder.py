"""Finds an uploaded file by its ID, without changing its record."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from replicate_proxy.errors import NotFoundError
from replicate_proxy.ids import is_id

if TYPE_CHECKING:
    from replicate_proxy.files.model import StoredFile
    from replicate_proxy.files.ports import FileObjects, FileStore
    from replicate_proxy.ports import Clock


@dataclass(frozen=True, slots=True)
class FileFinder:
    """Finds files of one tenant; those of other tenants do not exist for it."""

    store: FileStore
    objects: FileObjects
    clock: Clock

    def find(self, tenant: str, file_id: str) -> StoredFile:
        """Return the file, with its size if it is uploaded. Raises NotFoundError."""
        file = self.store.get(tenant, file_id) if is_id(file_id) else None
        if file is None or file.expires_at <= self.clock.now():
            raise NotFoundError("no such file")
        if file.is_uploaded:
            return file
        metadata = self.objects.get_metadata(file.object_key)
        return replace(file, size_bytes=metadata.size_bytes) if metadata is not None else file
