"""CORS headers for browsers (Fetch standard, "CORS protocol").

Without configured origins no browser page may call the API. Credentials in cookies are never allowed:
callers send the `Authorization` header.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicate_proxy.config import Environment
from replicate_proxy.settings import CORS_ALLOWED_ORIGINS

if TYPE_CHECKING:
    from collections.abc import Mapping


_ALLOWED_METHODS = "GET, POST, PUT, PATCH, DELETE"
# Safari and Firefox let a page set `user-agent`, as Replicate's client and the AI SDK do, and ask about it.
_ALLOWED_REQUEST_HEADERS = (
    "authorization, cancel-after, content-type, idempotency-key, prefer, user-agent, x-correlation-id,"
    " x-image-format, x-image-quality, x-metadata, x-retention"
)
_EXPOSED_RESPONSE_HEADERS = "idempotent-replayed, link, location, preference-applied, retry-after"
_PREFLIGHT_CACHE_SECONDS = 600


@dataclass(frozen=True, slots=True)
class CorsPolicy:
    """The allowed origins, such as `https://app.example.com`; `*` allows every origin."""

    origins: frozenset[str] = frozenset()

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> CorsPolicy:
        """Read CORS_ALLOWED_ORIGINS, a comma-separated list; no origin is allowed if it is not set."""
        return cls(frozenset(Environment(environ)[CORS_ALLOWED_ORIGINS]))

    def build_headers(self, origin: str, *, preflight: bool = False) -> dict[str, str]:
        """Return the headers of a response to the origin; those of a preflight say what it may send."""
        if not self.origins:
            return {}
        # With a list of origins the response depends on the origin, so caches must not share it.
        vary = {} if "*" in self.origins else {"vary": "origin"}
        if not origin or not self.origins & {origin, "*"}:
            return vary
        headers = {"access-control-allow-origin": "*" if "*" in self.origins else origin, **vary}
        if not preflight:
            return {**headers, "access-control-expose-headers": _EXPOSED_RESPONSE_HEADERS}
        return {
            **headers,
            "access-control-allow-methods": _ALLOWED_METHODS,
            "access-control-allow-headers": _ALLOWED_REQUEST_HEADERS,
            "access-control-max-age": str(_PREFLIGHT_CACHE_SECONDS),
        }
