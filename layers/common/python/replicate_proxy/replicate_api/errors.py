"""Errors of a call to Replicate. The class says what to do next.

RetryableError
├── NotAcceptedError           definitely not accepted: a create may be sent again
│   ├── ThrottledError         429: wait `retry_after`
│   ├── TokenRejectedError     our API token is rejected: an operator must act, the work can wait
│   ├── TokenUnavailableError  our API token cannot be read now
│   └── BreakerOpenError       the call was not made
└── UpstreamUnavailableError   a read or a cancel failed: retry
OutcomeUnknownError            a create may or may not exist: find out before sending it again
PermanentError
├── RejectedError              Replicate's own 4xx: report it to the caller
└── UnexpectedResponseError    the response does not have the documented form
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicate_proxy.errors import InvalidField, PermanentError, ProxyError, RetryableError

if TYPE_CHECKING:
    from collections.abc import Sequence


class NotAcceptedError(RetryableError):
    """The request was definitely not accepted: it was not sent, or rejected before it was processed."""


class ThrottledError(NotAcceptedError):
    """Replicate responded with 429. `limit_per_minute` is the reduced limit that it stated, if any."""

    retry_after: float

    def __init__(self, message: str, *, retry_after: float, limit_per_minute: int | None = None) -> None:
        super().__init__(message, retry_after=retry_after)
        self.limit_per_minute = limit_per_minute


class TokenRejectedError(NotAcceptedError):
    """Replicate rejects our API token, also after it was read again. An operator has to replace it."""


class TokenUnavailableError(NotAcceptedError):
    """The store of our API token failed temporarily, so the call was not made, or ended with a 401."""


class BreakerOpenError(NotAcceptedError):
    """The circuit breaker is open, so the call was not made. `retry_after` is the time to the next probe."""


class UpstreamUnavailableError(RetryableError):
    """A call that is safe to repeat failed at Replicate or on the way."""


class OutcomeUnknownError(ProxyError):
    """A create was sent, at least in part, without a usable response: it may be running, and be billed."""


class RejectedError(PermanentError):
    """Replicate rejected the request (4xx except 401, 408, 425, 429); the fields are from its response."""

    def __init__(
        self, status: int, title: str, detail: str, *, invalid_fields: Sequence[InvalidField] = ()
    ) -> None:
        super().__init__(f"Replicate answered {status}: {title}")
        self.status = status
        self.title = title
        self.detail = detail
        self.invalid_fields = tuple(invalid_fields)


class UnexpectedResponseError(PermanentError):
    """A response outside Replicate's documented form, for instance an unknown status."""
