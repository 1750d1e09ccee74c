"""Errors with which the authorizer rejects a caller."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicate_proxy.errors import ProxyError, RetryableError

if TYPE_CHECKING:
    from replicate_proxy.auth.keys import ApiKey


class UnauthenticatedError(ProxyError):
    """The credential is missing, unknown, invalid or revoked. The caller gets 401."""


class DeniedError(ProxyError):
    """The key has expired or does not allow the caller's address, or its tenant is erased: 403."""


class StaleKeyError(RetryableError):
    """The stored key cannot be read; `key` is as it was when it was read some minutes ago."""

    def __init__(self, key: ApiKey) -> None:
        super().__init__("the key store cannot be reached")
        self.key = key
