"""Reasons to turn a caller away."""

from __future__ import annotations

from replicate_proxy.errors import ProxyError


class UnauthenticatedError(ProxyError):
    """The credential is missing, unknown, invalid or revoked. The caller gets 401."""


class DeniedError(ProxyError):
    """The credential is genuine but has expired or is used from a foreign IP address. The caller gets 403."""
