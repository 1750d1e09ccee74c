"""What passes through to Replicate, by allow-list; anything else is not there. Pure.

Source of paths and parameters: Replicate's OpenAPI document; `cursor` comes with the `next` of its pages.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from replicate_proxy.errors import ApiError, InvalidField, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["CATALOG", "CatalogEntry"]

_SEGMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", re.ASCII)
"""Letters and digits first: no `..`, no empty segment, nothing that could mean another path or host."""

_LONGEST_VALUE = 1000
_SECONDS_IN_HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class CatalogEntry:
    """One GET, on our side and Replicate's alike. `lifetime` is in seconds; None means the usual one."""

    resource: str
    parameters: frozenset[str] = field(default_factory=frozenset)
    lifetime: float | None = None

    def path(self, params: Mapping[str, str]) -> str:
        """Replicate's path. Raises NotFoundError where a segment is no name."""
        path = self.resource
        for name, value in params.items():
            if not _SEGMENT.fullmatch(value):
                raise NotFoundError("no such model, version or collection")
            path = path.replace(f"{{{name}}}", value)
        return path

    def query(self, given: Mapping[str, str]) -> dict[str, str]:
        """Replicate's query. Raises a 400 ApiError that names each parameter that has no place here."""
        wrong = [
            InvalidField("unknown_parameter", name, f"{name[:100]} is not a parameter of this endpoint")
            for name in given
            if name not in self.parameters
        ] + [
            InvalidField("too_long", name, f"{name} must have at most {_LONGEST_VALUE} characters")
            for name, value in given.items()
            if name in self.parameters and len(value) > _LONGEST_VALUE
        ]
        if wrong:
            detail = "; ".join(entry.description for entry in wrong)
            raise ApiError(400, "Invalid parameter", detail, invalid_fields=wrong)
        return dict(sorted(given.items()))


_PAGED = frozenset({"cursor"})

CATALOG = (
    CatalogEntry("/v1/models", frozenset({"cursor", "sort_by", "sort_direction"})),
    CatalogEntry("/v1/models/{owner}/{name}"),
    CatalogEntry("/v1/models/{owner}/{name}/versions", _PAGED),
    CatalogEntry("/v1/models/{owner}/{name}/versions/{version}", lifetime=_SECONDS_IN_HOUR),
    CatalogEntry("/v1/models/{owner}/{name}/examples", _PAGED),
    CatalogEntry("/v1/models/{owner}/{name}/readme"),
    CatalogEntry("/v1/collections", _PAGED),
    CatalogEntry("/v1/collections/{slug}"),
    CatalogEntry("/v1/hardware", lifetime=_SECONDS_IN_HOUR),
    CatalogEntry("/v1/account", lifetime=_SECONDS_IN_HOUR),
    CatalogEntry("/v1/search", frozenset({"query", "limit"})),
)
