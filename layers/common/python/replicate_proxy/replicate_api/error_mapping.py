"""Maps every failure of an HTTP call to Replicate to an error of `replicate_api.errors`.

`translate_transport_errors` maps the exceptions of requests and urllib3, `translate_parse_errors` those of an
unreadable response, `raise_for_status` the status of a readable one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import Enum
from http import HTTPStatus
from http.client import HTTPException
from typing import TYPE_CHECKING, Any

from requests import RequestException
from urllib3.exceptions import HTTPError

from replicate_proxy.contracts.commands import MAX_MESSAGE_DELAY_SECONDS
from replicate_proxy.errors import InvalidField, ProxyError
from replicate_proxy.net.retry_after import parse_retry_after
from replicate_proxy.replicate_api.connection import SendTracker, track_send
from replicate_proxy.replicate_api.errors import (
    NotAcceptedError,
    OutcomeUnknownError,
    RejectedError,
    ThrottledError,
    TokenRejectedError,
    UnexpectedResponseError,
    UpstreamUnavailableError,
)

if TYPE_CHECKING:
    from replicate_proxy.replicate_api.response import UpstreamResponse


DEFAULT_RETRY_AFTER_SECONDS = 5.0
TOKEN_REJECTED_RETRY_SECONDS = 60.0
"""An operator has to replace the token, which takes longer than a network failure."""

_NOT_PROCESSED = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY})
"""The server did not process the request (RFC 9110 §15.5.9, RFC 8470 §5.2)."""

_RESET_TEXT = re.compile(r"resets? in ~?\s*(\d{1,6}(?:\.\d{1,6})?)\s*s", re.IGNORECASE)
_REDUCED_TEXT = re.compile(r"reduced to (\d{1,6}) requests? per minute", re.IGNORECASE)


class Operation(Enum):
    """Whether sending a request twice can cost money."""

    CREATE = "create"
    IDEMPOTENT = "idempotent"


@contextmanager
def translate_transport_errors(operation: Operation) -> Iterator[SendTracker]:
    """Track the request made inside and translate everything that requests and urllib3 raise."""
    with (
        track_send(requires_new_connection=operation is Operation.CREATE) as tracker,
        translate_parse_errors(operation),
    ):
        try:
            yield tracker
        # ValueError is raised for URLs and headers that cannot be encoded.
        except (RequestException, HTTPError, HTTPException, OSError, ValueError) as error:
            raise _build_transport_error(operation, tracker, error) from error


@contextmanager
def translate_parse_errors(operation: Operation) -> Iterator[None]:
    """Raise OutcomeUnknownError if the response to a create is unreadable."""
    try:
        yield
    except (UnexpectedResponseError, UpstreamUnavailableError) as error:
        if operation is Operation.CREATE:
            raise OutcomeUnknownError(f"Replicate responded, but {error}") from error
        raise


def _build_transport_error(operation: Operation, tracker: SendTracker, error: Exception) -> ProxyError:
    # The message names only the class: messages of these libraries can contain headers and URLs.
    error_name = type(error).__name__
    if tracker.definitely_not_sent:
        return NotAcceptedError(f"could not reach Replicate: {error_name}")
    if operation is Operation.CREATE:
        return OutcomeUnknownError(f"no response after sending: {error_name}")
    return UpstreamUnavailableError(f"no response from Replicate: {error_name}")


def raise_for_status(response: UpstreamResponse, operation: Operation) -> UpstreamResponse:
    """Return the response if its status is 2xx, else raise the error that the status means."""
    status = response.status
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return response
    if status == HTTPStatus.UNAUTHORIZED:
        raise TokenRejectedError("Replicate rejects our token", retry_after=TOKEN_REJECTED_RETRY_SECONDS)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        raise _build_throttled_error(response)
    if status in _NOT_PROCESSED:
        raise NotAcceptedError(f"Replicate answered {status}", retry_after=_read_retry_delay(response))
    if _leaves_outcome_open(status):
        if operation is Operation.CREATE:
            raise OutcomeUnknownError(f"Replicate answered {status}")
        raise UpstreamUnavailableError(
            f"Replicate answered {status}", retry_after=_read_retry_delay(response)
        )
    if status < HTTPStatus.BAD_REQUEST:
        raise RejectedError(502, "Unexpected redirect", "Replicate's API responded with a redirect.")
    raise _build_rejected_error(response)


def _leaves_outcome_open(status: int) -> bool:
    # RFC 9110 §15.4: a 303 follows a request that was processed, the other redirects one that was not.
    is_defined = HTTPStatus.OK <= status < HTTPStatus.INTERNAL_SERVER_ERROR
    return not is_defined or status == HTTPStatus.SEE_OTHER


def _build_throttled_error(response: UpstreamResponse) -> ThrottledError:
    delay_seconds = _read_retry_delay(response)
    return ThrottledError(
        "Replicate throttled the request",
        retry_after=DEFAULT_RETRY_AFTER_SECONDS if delay_seconds is None else delay_seconds,
        limit_per_minute=parse_reduced_limit(response.parse_problem()),
    )


def _build_rejected_error(response: UpstreamResponse) -> RejectedError:
    problem = response.parse_problem()
    title = problem.get("title")
    detail = problem.get("detail")
    fields = problem.get("invalid_fields")
    return RejectedError(
        response.status,
        title if isinstance(title, str) and title else "Request rejected",
        detail if isinstance(detail, str) and detail else "Replicate gave no reason.",
        invalid_fields=[_parse_invalid_field(entry) for entry in fields if isinstance(entry, Mapping)]
        if isinstance(fields, list)
        else (),
    )


def _parse_invalid_field(entry: Mapping[str, Any]) -> InvalidField:
    return InvalidField(
        type=str(entry.get("type", "")),
        field=str(entry.get("field", "")),
        description=str(entry.get("description", "")),
    )


def _read_retry_delay(response: UpstreamResponse) -> float | None:
    return parse_retry_delay(
        response.parse_problem(), response.headers.get("retry-after"), now=datetime.now(UTC)
    )


def parse_retry_delay(body: Mapping[str, Any], header: str | None, *, now: datetime) -> float | None:
    """Return the longest delay in seconds that the response asks for, at most MAX_MESSAGE_DELAY_SECONDS.

    Sources: Replicate's documentation, "Rate limits", and recorded responses: `retry_after` in the body,
    "Your rate limit resets in ~5s." in the detail. The header is HTTP's own.
    """
    delays = (
        _parse_seconds(body.get("retry_after")),
        parse_retry_after(header, now),
        _parse_reset_text(body.get("detail")),
    )
    known_delays = [delay for delay in delays if delay is not None]
    return min(max(known_delays), MAX_MESSAGE_DELAY_SECONDS) if known_delays else None


def parse_reduced_limit(body: Mapping[str, Any]) -> int | None:
    """Return the creates per minute to which Replicate has reduced our limit, None if it states none.

    Source: recorded responses, "reduced to 6 requests per minute" while the account is low on credit.
    """
    match = _REDUCED_TEXT.search(str(body.get("detail", "")))
    limit = int(match.group(1)) if match else 0
    return limit or None


def _parse_seconds(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        seconds = float(value)
    except (ValueError, OverflowError):
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def _parse_reset_text(detail: object) -> float | None:
    match = _RESET_TEXT.search(detail) if isinstance(detail, str) else None
    return float(match.group(1)) if match else None
