"""Send one signed POST to a receiver and classify the response."""

from __future__ import annotations

import time
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from replicate_proxy.errors import PermanentError
from replicate_proxy.net.errors import ForbiddenUrlError, RequestTimeoutError, UnreachableError
from replicate_proxy.observability import logger
from replicate_proxy.webhooks.model import AttemptResult, ErrorCode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from replicate_proxy.net.session import GuardedSession


# The receiver, or a proxy in front of it, is not available now: no other event would fare better.
_UNAVAILABLE_STATUSES = frozenset({408, 425, 429, 502, 503, 504})
_GONE = 410
_ERROR_BY_STATUS_CLASS = {
    2: None,
    3: ErrorCode.REDIRECT,
    4: ErrorCode.CLIENT_ERROR,
    5: ErrorCode.SERVER_ERROR,
}


class ReceiverInstruction(StrEnum):
    """What a receiver can ask for beyond success or failure."""

    GONE = "gone"
    DISABLE = "disable"
    ABORT = "abort-message"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiverResponse:
    """The receiver's response to one request, or the error that occurred instead (`status` is None).

    `body` is the beginning of the response body, `retry_after` the header as sent.
    """

    result: AttemptResult
    duration_seconds: float
    status: int | None = None
    error_code: ErrorCode | None = None
    body: str = ""
    retry_after: str | None = None
    instruction: ReceiverInstruction | None = None

    @property
    def is_missing(self) -> bool:
        """Whether the receiver sent no HTTP response at all."""
        return self.status is None


class HttpSender:
    """The Sender port. Addresses are checked, redirects are not followed.

    `timeout_seconds` bounds the whole request. Of the response body `max_response_bytes` are read.
    """

    def __init__(
        self,
        session: GuardedSession,
        *,
        timeout_seconds: float,
        max_response_bytes: int,
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._session = session
        self._timeout_seconds = timeout_seconds
        self._max_response_bytes = max_response_bytes
        self._timer = timer

    def post(self, url: str, headers: Mapping[str, str], body: bytes) -> ReceiverResponse:
        start = self._timer()
        try:
            with self._session.request(
                "POST", url, timeout_seconds=self._timeout_seconds, headers=headers, data=body, stream=True
            ) as response:
                response_body = response.read_prefix(self._max_response_bytes)
                return classify_response(
                    response.status,
                    response.headers,
                    response_body,
                    duration_seconds=self._timer() - start,
                )
        except RequestTimeoutError:
            error_code = ErrorCode.TIMEOUT
        except UnreachableError:
            error_code = ErrorCode.UNREACHABLE
        except ForbiddenUrlError:
            error_code = ErrorCode.FORBIDDEN_ADDRESS
        except PermanentError:
            error_code = ErrorCode.BAD_RESPONSE
        except Exception as error:  # noqa: BLE001 - an attempt that fails is on record, whatever the reason
            # The message may hold the URL.
            logger.error("webhook not sent", reason=type(error).__name__)
            error_code = ErrorCode.SEND_FAILED
        return ReceiverResponse(
            result=AttemptResult.UNAVAILABLE,
            error_code=error_code,
            duration_seconds=self._timer() - start,
        )


def classify_response(
    status: int, headers: Mapping[str, str], body: bytes, *, duration_seconds: float
) -> ReceiverResponse:
    """Return what an HTTP response means for the delivery.

    Only 2xx is success (Standard Webhooks specification, "Deliverability and reliability").
    """
    lowercase_headers = {name.lower(): value for name, value in headers.items()}
    error_code = _ERROR_BY_STATUS_CLASS.get(status // 100, ErrorCode.OTHER_STATUS)
    if error_code is None:
        result = AttemptResult.DELIVERED
    elif status in _UNAVAILABLE_STATUSES:
        result = AttemptResult.UNAVAILABLE
    else:
        result = AttemptResult.REJECTED
    return ReceiverResponse(
        result=result,
        duration_seconds=duration_seconds,
        status=status,
        error_code=error_code,
        body=body.decode("utf-8", "replace"),
        retry_after=lowercase_headers.get("retry-after"),
        instruction=_parse_instruction(status, lowercase_headers.get("webhook-delivery", "")),
    )


def _parse_instruction(status: int, header: str) -> ReceiverInstruction | None:
    """Return what a 410 (Standard Webhooks) or Svix's `webhook-delivery` header asks for."""
    if status == _GONE:
        return ReceiverInstruction.GONE
    name = header.strip().lower()
    known = {ReceiverInstruction.DISABLE, ReceiverInstruction.ABORT}
    return ReceiverInstruction(name) if name in known else None
