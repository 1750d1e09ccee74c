"""Why a caller is not let in."""

from __future__ import annotations

from replicate_proxy.errors import ProxyError


class UnauthenticatedError(ProxyError):
    """The credential is missing, unknown, wrong or revoked: 401, get another one."""


class DeniedError(ProxyError):
    """The credential is real but does not hold here and now (expired, foreign address): 403."""
