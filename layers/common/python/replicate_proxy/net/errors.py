"""Errors of a guarded request. The base class says whether a retry may help.

ProxyError
├── RetryableError
│   ├── UnreachableError          DNS, connect, TLS or transfer failed
│   └── RequestTimeoutError       the connect, read or total timeout expired
└── PermanentError
    ├── ForbiddenUrlError         the URL may not be called (`reason` says why)
    │   └── ForbiddenAddressError     its host is, or resolves to, an IP address on the block list
    ├── ResponseTooLargeError     the body is longer than the caller allows
    └── InvalidResponseError      the response is unusable (too many redirects)
"""

from __future__ import annotations

from replicate_proxy.errors import PermanentError, RetryableError


class UnreachableError(RetryableError):
    """The host could not be resolved, connected to or read from."""


class RequestTimeoutError(RetryableError):
    """The connect, read or total timeout expired."""


class ForbiddenUrlError(PermanentError):
    """The URL may not be called. `reason` can be shown to the person who gave the URL."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the URL is not allowed: {reason}")
        self.reason = reason


class ForbiddenAddressError(ForbiddenUrlError):
    """The IP address is in a range that outside parties must not make us call."""


class ResponseTooLargeError(PermanentError):
    """The body exceeds the caller's limit in bytes."""


class InvalidResponseError(PermanentError):
    """The server sent a response that the client refuses to interpret."""
