"""An input file. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["LIFETIME", "StoredFile", "object_key"]

LIFETIME = timedelta(hours=24)  # Replicate's own: recorded replies have expires_at one day after created_at


@dataclass(frozen=True)
class StoredFile:
    """`size` in bytes. A file that its owner still has to upload has neither size nor checksums."""

    id: str
    tenant: str
    name: str
    content_type: str
    created_at: datetime
    expires_at: datetime
    size: int | None = None
    checksums: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return object_key(self.tenant, self.id)

    @property
    def is_uploaded(self) -> bool:
        return self.size is not None


def object_key(tenant: str, file_id: str) -> str:
    """Where the bytes lie in the bucket."""
    return f"files/{tenant}/{file_id}"
