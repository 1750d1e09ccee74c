"""Errors with which the authorizer rejects a caller."""

from __future__ import annotations

from replicate_proxy.errors import ProxyError


class UnauthenticatedError(ProxyError):
    """The credential is missing, unknown, invalid or revoked. The caller gets 401."""


class DeniedError(ProxyError):
    """The key has expired or does not allow the caller's address, or its tenant is erased: 403."""
