"""A tenant's name and settings. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["ImageDefaults", "Tenant", "is_tenant"]

# Tenants are parts of table keys and object keys: no `#`, `/` or `.` can be in a name.
_SHAPE = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)


def is_tenant(name: str) -> bool:
    """1 to 63 lower-case letters, digits and inner hyphens."""
    return _SHAPE.fullmatch(name) is not None


@dataclass(frozen=True)
class ImageDefaults:
    """What harvest does to a tenant's images where a request does not say; None: as the service does."""

    format: str | None = None
    quality: int | None = None
    max_width: int | None = None
    max_height: int | None = None


@dataclass(frozen=True)
class Tenant:
    """One tenant. A tenant without a row has these defaults: a key is enough to begin."""

    name: str
    display_name: str = ""
    images: ImageDefaults = ImageDefaults()
    created_at: str | None = None
    updated_at: str | None = None
