"""A tenant's name and settings. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime

    from replicate_proxy.auth.keys import Limits

__all__ = ["ImageDefaults", "Tenant", "is_tenant"]

# Tenants are parts of table keys and object keys: no `#`, `/` or `.` can be in a name.
_SHAPE = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)


def is_tenant(name: str) -> bool:
    """1 to 63 lower-case letters, digits and inner hyphens."""
    return _SHAPE.fullmatch(name) is not None


@dataclass(frozen=True)
class ImageDefaults:
    """What harvest does to images where a request does not say; None leaves it to the deployment."""

    format: str | None = None
    quality: int | None = None


_NO_DEFAULTS = ImageDefaults()


@dataclass(frozen=True)
class Tenant:
    """One tenant. Without a row it has these defaults: a key is enough to begin.

    `token_limits` and the usage key are those of callers with a token of the identity provider; API keys
    have their own.
    """

    name: str
    display_name: str = ""
    images: ImageDefaults = _NO_DEFAULTS
    token_limits: Limits | None = None
    usage_key_id: str | None = None
    usage_key: str | None = field(default=None, repr=False)
    created_at: datetime | None = None
    updated_at: datetime | None = None
