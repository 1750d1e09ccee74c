"""When to come back after a 429, and at what rate. Pure.

Source: Replicate's rate-limit page and recorded replies: `retry_after` in the body, "Your rate limit resets
in ~5s." in the detail, "reduced to 6 requests per minute" while credit is low; a Retry-After header is
allowed for (RFC 9110).

The one place where failures of HTTP become errors of ours.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from http import HTTPStatus
from http.client import HTTPException
from typing import TYPE_CHECKING, Any

from requests import RequestException
from urllib3.exceptions import HTTPError

from replicate_proxy.errors import InvalidField, ProxyError
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
MAX_RETRY_AFTER_SECONDS = 900.0
"""Seconds; the longest a queue message can be delayed."""

_RESETS = re.compile(r"resets? in ~?\s*(\d{1,6}(?:\.\d{1,6})?)\s*s", re.IGNORECASE)
_REDUCED = re.compile(r"reduced to (\d{1,6}) requests? per minute", re.IGNORECASE)


def parse_retry_delay(body: Mapping[str, Any], header: str | None, *, now: datetime) -> float | None:
    """Seconds to wait: the longest of body, header and text, at most MAX_RETRY_AFTER; None where nothing
    says.
    """
    stated = [_number(body.get("retry_after")), _header(header, now), _from_text(body.get("detail"))]
    known = [seconds for seconds in stated if seconds is not None]
    return min(max(known), MAX_RETRY_AFTER_SECONDS) if known else None


def parse_reduced_limit(body: Mapping[str, Any]) -> int | None:
    """Creates a minute that Replicate allows for now, where it says so."""
    found = _REDUCED.search(str(body.get("detail", "")))
    limit = int(found.group(1)) if found else 0
    return limit or None


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        seconds = float(value)
    except (ValueError, OverflowError):
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def _header(value: str | None, now: datetime) -> float | None:
    if value is None:
        return None
    seconds = _number(value)
    if seconds is not None:
        return seconds
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, TypeError):
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())


def _from_text(detail: object) -> float | None:
    found = _RESETS.search(detail) if isinstance(detail, str) else None
    return float(found.group(1)) if found else None


TOKEN_REJECTED_RETRY_SECONDS = 60.0
"""Seconds to wait while our token is refused: an operator's pace, not a network's."""

_TOO_EARLY = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY})
"""The server gave up before it had the request (RFC 9110 §15.5.9, RFC 8470 §5.2)."""


class Operation(Enum):
    """Whether sending a request twice can cost money."""

    CREATE = "create"
    IDEMPOTENT = "repeatable"


@contextmanager
def translate_transport_errors(operation: Operation) -> Iterator[SendTracker]:
    """Watches one request; all that `requests` and `urllib3` raise leaves as an error of `errors.py`."""
    with (
        track_send(requires_new_connection=operation is Operation.CREATE) as wire,
        translate_parse_errors(operation),
    ):
        try:
            yield wire
        # ValueError: addresses and headers that cannot be encoded.
        except (RequestException, HTTPError, HTTPException, OSError, ValueError) as error:
            raise _broken(operation, wire, error) from error


@contextmanager
def translate_parse_errors(operation: Operation) -> Iterator[None]:
    """For reading an answer that came: one that makes no sense leaves the outcome of a create unknown."""
    try:
        yield
    except (UnexpectedResponseError, UpstreamUnavailableError) as error:
        if operation is Operation.CREATE:
            raise OutcomeUnknownError(f"Replicate answered, but {error}") from error
        raise


def _broken(operation: Operation, wire: SendTracker, error: Exception) -> ProxyError:
    # Only the class is told: messages of these libraries can hold headers and addresses.
    kind = type(error).__name__
    if wire.definitely_not_sent:
        return NotAcceptedError(f"could not reach Replicate: {kind}")
    if operation is Operation.CREATE:
        return OutcomeUnknownError(f"no answer after sending: {kind}")
    return UpstreamUnavailableError(f"no answer from Replicate: {kind}")


def raise_for_status(reply: UpstreamResponse, operation: Operation) -> UpstreamResponse:
    """The reply itself where it is 2xx; raises the error that its status stands for otherwise."""
    status = reply.status
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return reply
    if status == HTTPStatus.UNAUTHORIZED:
        raise TokenRejectedError("Replicate refuses our token", retry_after=TOKEN_REJECTED_RETRY_SECONDS)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        raise _throttled(reply)
    if status in _TOO_EARLY:
        raise NotAcceptedError(f"Replicate answered {status}", retry_after=_wait(reply))
    if _says_nothing(status):
        if operation is Operation.CREATE:
            raise OutcomeUnknownError(f"Replicate answered {status}")
        raise UpstreamUnavailableError(f"Replicate answered {status}", retry_after=_wait(reply))
    if status < HTTPStatus.BAD_REQUEST:
        raise RejectedError(502, "Unexpected redirect", "The upstream address answered with a redirect.")
    raise _rejected(reply)


def _says_nothing(status: int) -> bool:
    # RFC 9110 §15.4: a 303 follows a request that was processed, the other redirects one that was not.
    known = HTTPStatus.OK <= status < HTTPStatus.INTERNAL_SERVER_ERROR
    return not known or status == HTTPStatus.SEE_OTHER


def _throttled(reply: UpstreamResponse) -> ThrottledError:
    wait = _wait(reply)
    return ThrottledError(
        "Replicate throttles us",
        retry_after=DEFAULT_RETRY_AFTER_SECONDS if wait is None else wait,
        limit_per_minute=parse_reduced_limit(reply.parse_problem()),
    )


def _wait(reply: UpstreamResponse) -> float | None:
    return parse_retry_delay(reply.parse_problem(), reply.headers.get("retry-after"), now=datetime.now(UTC))


def _rejected(reply: UpstreamResponse) -> RejectedError:
    problem = reply.parse_problem()
    title = problem.get("title")
    detail = problem.get("detail")
    fields = problem.get("invalid_fields")
    return RejectedError(
        reply.status,
        title if isinstance(title, str) and title else "Request rejected",
        detail if isinstance(detail, str) and detail else "Replicate refused the request without saying why.",
        invalid_fields=[_invalid_field(entry) for entry in fields if isinstance(entry, Mapping)]
        if isinstance(fields, list)
        else (),
    )


def _invalid_field(entry: Mapping[str, Any]) -> InvalidField:
    return InvalidField(
        type=str(entry.get("type", "")),
        field=str(entry.get("field", "")),
        description=str(entry.get("description", "")),
    )
