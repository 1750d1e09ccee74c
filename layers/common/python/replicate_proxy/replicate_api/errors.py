"""What a call to Replicate can end in, by what to do next.

RetryableError
├── NotAcceptedError           certainly not accepted: a create may be sent again
│   ├── ThrottledError         429: wait `retry_after`; `limit_per_minute` where Replicate named a lower limit
│   ├── UnauthenticatedError   our token is refused: an operator must act, the work may wait
│   └── BreakerOpenError       not even tried
└── UpstreamUnavailableError   a read or a cancel failed: ask again
OutcomeUnknownError            a create may or may not exist: find out before sending it again
PermanentError
├── RejectedError              Replicate's own 4xx: tell the caller
└── UnexpectedResponseError       Replicate's answer does not mean what we know
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicate_proxy.errors import InvalidField, PermanentError, ProxyError, RetryableError

if TYPE_CHECKING:
    from collections.abc import Sequence


class NotAcceptedError(RetryableError):
    """The request certainly was not accepted: no connection, no TLS, or refused before any work began."""


class ThrottledError(NotAcceptedError):
    """429. `retry_after` (seconds) is never None; `limit_per_minute` is None unless Replicate stated one."""

    retry_after: float

    def __init__(self, message: str, *, retry_after: float, limit_per_minute: int | None = None) -> None:
        super().__init__(message, retry_after=retry_after)
        self.limit_per_minute = limit_per_minute


class TokenRejectedError(NotAcceptedError):
    """Replicate refuses our own token, also when read again. Never the fault of the proxy's caller."""


class BreakerOpenError(NotAcceptedError):
    """Replicate is failing, so the call was not made; `retry_after` is when the next probe is due."""


class UpstreamUnavailableError(RetryableError):
    """A call that is safe to repeat failed on Replicate's side or on the way."""


class OutcomeUnknownError(ProxyError):
    """The create left us whole or in part and no usable answer came: it may be running, and be billed."""


class RejectedError(PermanentError):
    """Replicate understood and refused (4xx other than 401, 408, 425, 429), in its own words."""

    def __init__(
        self, status: int, title: str, detail: str, *, invalid_fields: Sequence[InvalidField] = ()
    ) -> None:
        super().__init__(f"Replicate answered {status}: {title}")
        self.status = status
        self.title = title
        self.detail = detail
        self.invalid_fields = tuple(invalid_fields)


class UnexpectedResponseError(PermanentError):
    """A reply outside Replicate's documented form, for instance an unknown status."""
