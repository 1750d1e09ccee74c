"""What can go wrong on a guarded request; the class says whether another try may help.

ProxyError
├── RetryableError
│   ├── UnreachableError        DNS, connect, TLS or transfer failed
│   └── RequestTimeoutError            a timeout, or the total time of the request is up
└── PermanentError
    ├── ForbiddenUrlError    the URL may not be called at all (`reason` is a stable word)
    │   └── ForbiddenAddressError   its host is, or resolves to, an address on the block list
    ├── ResponseTooLargeError           the body is longer than the caller allows
    └── InvalidResponseError        the answer cannot be used (redirect loop, unasked-for encoding)
"""

from __future__ import annotations

from replicate_proxy.errors import PermanentError, RetryableError


class UnreachableError(RetryableError):
    """The host could not be resolved, connected to or read from."""


class RequestTimeoutError(RetryableError):
    """Connect, read or total time ran out."""


class ForbiddenUrlError(PermanentError):
    """The URL is not one we call; `reason` is safe to show to its owner."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"the address may not be called: {reason}")
        self.reason = reason


class ForbiddenAddressError(ForbiddenUrlError):
    """The IP address lies in a range that no outside party may make us call."""


class ResponseTooLargeError(PermanentError):
    """The body exceeds the caller's limit in bytes."""


class InvalidResponseError(PermanentError):
    """The server answered with something we refuse to interpret."""
