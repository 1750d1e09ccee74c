"""Which browsers' pages may call the API (Fetch standard, CORS protocol). Pure.

No page may unless its origin is on the list. Cookies are never asked for: callers send a header.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicate_proxy.config import Environment
from replicate_proxy.settings import CORS_ALLOWED_ORIGINS

if TYPE_CHECKING:
    from collections.abc import Mapping


_METHODS = "GET, POST, PUT, PATCH, DELETE"
_REQUEST_HEADERS = (
    "authorization, cancel-after, content-type, idempotency-key, prefer, x-correlation-id, x-image-format,"
    " x-image-quality"
)
_RESPONSE_HEADERS = "idempotent-replayed, location, preference-applied, retry-after"
_PREFLIGHT_SECONDS = 600


@dataclass(frozen=True, slots=True)
class CorsPolicy:
    """`origins` such as `https://app.example.com`; `*` stands for every one."""

    origins: frozenset[str] = frozenset()

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> CorsPolicy:
        """CORS_ALLOWED_ORIGINS, a comma list; none where it is absent."""
        return cls(frozenset(Environment(environ)[CORS_ALLOWED_ORIGINS]))

    def build_headers(self, origin: str, *, preflight: bool = False) -> dict[str, str]:
        """What lets a page of the origin read the reply; for a preflight, what it may send."""
        if not self.origins:
            return {}
        vary = {} if "*" in self.origins else {"vary": "origin"}
        if not origin or not self.origins & {origin, "*"}:
            return vary
        allowed = {"access-control-allow-origin": "*" if "*" in self.origins else origin, **vary}
        if not preflight:
            return {**allowed, "access-control-expose-headers": _RESPONSE_HEADERS}
        return {
            **allowed,
            "access-control-allow-methods": _METHODS,
            "access-control-allow-headers": _REQUEST_HEADERS,
            "access-control-max-age": str(_PREFLIGHT_SECONDS),
        }
