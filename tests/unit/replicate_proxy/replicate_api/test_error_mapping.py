"""Every exception, status and delay hint of HTTP, and the error it is mapped to."""

from __future__ import annotations

import http.client
import inspect
import ssl
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
import requests
import urllib3.exceptions
from hypothesis import given
from hypothesis import strategies as st

from replicate_proxy.contracts.commands import MAX_MESSAGE_DELAY_SECONDS
from replicate_proxy.errors import ProxyError
from replicate_proxy.replicate_api.error_mapping import (
    Operation,
    parse_reduced_limit,
    parse_retry_delay,
    raise_for_status,
    translate_transport_errors,
)
from replicate_proxy.replicate_api.errors import (
    NotAcceptedError,
    OutcomeUnknownError,
    RejectedError,
    ThrottledError,
    TokenRejectedError,
    UpstreamUnavailableError,
)
from replicate_proxy.replicate_api.response import UpstreamResponse


def find_classes(module: object, base: type[BaseException]) -> list[type[BaseException]]:
    classes = [entry for _, entry in inspect.getmembers(module, inspect.isclass) if issubclass(entry, base)]
    return [entry for entry in classes if not issubclass(entry, Warning)]


def get_full_name(error_class: type[BaseException]) -> str:
    return f"{error_class.__module__}.{error_class.__name__}"


LIBRARY_ERRORS = sorted(
    {
        *find_classes(requests.exceptions, requests.RequestException),
        *find_classes(urllib3.exceptions, urllib3.exceptions.HTTPError),
        *find_classes(http.client, http.client.HTTPException),
        ConnectionResetError,
        BrokenPipeError,
        TimeoutError,
        ssl.SSLError,
        UnicodeError,
    },
    key=get_full_name,
)


def build_error(error_class: type[BaseException]) -> BaseException:
    """Build an instance without its constructor, whose arguments differ by class."""
    return error_class.__new__(error_class)


def translate(
    operation: Operation, cause: BaseException, *, is_tracked: bool = True, send_started: bool
) -> ProxyError:
    """Return the error of a request whose transport raises `cause`."""

    def send() -> None:
        with translate_transport_errors(operation) as tracker:
            tracker.passed_to_transport = True
            tracker.transport_tracks_sending = is_tracked
            tracker.send_started = send_started
            raise cause

    with pytest.raises(ProxyError) as caught:
        send()
    return caught.value


@pytest.mark.parametrize("error_class", LIBRARY_ERRORS, ids=get_full_name)
class TestLibraryErrors:
    def test_not_accepted_when_nothing_was_sent(self, error_class: type[BaseException]) -> None:
        for operation in Operation:
            assert (
                type(translate(operation, build_error(error_class), send_started=False)) is NotAcceptedError
            )

    def test_create_outcome_is_unknown_after_sending(self, error_class: type[BaseException]) -> None:
        assert (
            type(translate(Operation.CREATE, build_error(error_class), send_started=True))
            is OutcomeUnknownError
        )

    def test_create_outcome_is_unknown_when_transport_does_not_track(
        self, error_class: type[BaseException]
    ) -> None:
        error = translate(Operation.CREATE, build_error(error_class), is_tracked=False, send_started=False)
        assert type(error) is OutcomeUnknownError

    def test_other_operation_is_retryable_after_sending(self, error_class: type[BaseException]) -> None:
        assert (
            type(translate(Operation.IDEMPOTENT, build_error(error_class), send_started=True))
            is UpstreamUnavailableError
        )


def test_translated_error_keeps_cause_but_not_its_text() -> None:
    cause = requests.exceptions.InvalidHeader("value: 'Bearer r8_secret'")
    error = translate(Operation.CREATE, cause, send_started=True)
    assert error.__cause__ is cause
    assert "r8_secret" not in str(error)


def test_other_exceptions_are_not_translated() -> None:
    with pytest.raises(KeyError), translate_transport_errors(Operation.CREATE):
        raise KeyError("a bug")


def build_response(status: int, body: bytes = b"") -> UpstreamResponse:
    return UpstreamResponse(status, {}, body)


def raised_class(status: int) -> type:
    try:
        raise_for_status(build_response(status), Operation.CREATE)
    except ProxyError as error:
        return type(error)
    return UpstreamResponse


def test_raise_for_status_maps_every_status_of_a_create() -> None:
    by_class = {
        1: OutcomeUnknownError,
        2: UpstreamResponse,
        3: RejectedError,
        4: RejectedError,
        5: OutcomeUnknownError,
    }
    special = {
        303: OutcomeUnknownError,
        401: TokenRejectedError,
        408: NotAcceptedError,
        425: NotAcceptedError,
        429: ThrottledError,
    }
    expected = {status: special.get(status, by_class[status // 100]) for status in range(100, 600)}
    assert {status: raised_class(status) for status in expected} == expected


@pytest.mark.parametrize("status", [500, 502, 503, 504, 599])
def test_raise_for_status_reads_retry_after_of_5xx(status: int) -> None:
    with pytest.raises(UpstreamUnavailableError) as caught:
        raise_for_status(UpstreamResponse(status, {"retry-after": "7"}, b""), Operation.IDEMPOTENT)
    assert caught.value.retry_after == 7.0


def test_raise_for_status_sets_default_delay_when_429_has_none() -> None:
    with pytest.raises(ThrottledError) as caught:
        raise_for_status(build_response(429), Operation.CREATE)
    assert caught.value.retry_after > 0
    assert caught.value.limit_per_minute is None


def test_raise_for_status_reads_reduced_limit_of_429() -> None:
    body = (
        b'{"detail":"Request was throttled. Your rate limit for creating predictions is reduced to 6 requests'
        b" per minute with a burst of 1 requests while you have less than $5.0 in credit. Your rate limit"
        b' resets in ~5s.",'
        b'"status":429,"retry_after":5}'
    )
    with pytest.raises(ThrottledError) as caught:
        raise_for_status(build_response(429, body), Operation.CREATE)
    assert caught.value.retry_after == 5.0
    assert caught.value.limit_per_minute == 6


def test_raise_for_status_keeps_title_detail_and_fields_of_rejection() -> None:
    body = (
        b'{"title":"Input validation failed","detail":"- Additional property signal is not allowed\\n",'
        b'"status":422,"invalid_fields":[{"type":"additional_property_not_allowed","field":"",'
        b'"description":"not allowed"},"odd"]}'
    )
    with pytest.raises(RejectedError) as caught:
        raise_for_status(build_response(422, body), Operation.CREATE)
    error = caught.value
    assert (error.status, error.title) == (422, "Input validation failed")
    assert error.detail == "- Additional property signal is not allowed\n"
    assert [field.type for field in error.invalid_fields] == ["additional_property_not_allowed"]
    assert "signal" not in str(error), "the message may be logged, the detail may quote the input"


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b'{"detail": 7, "title": null, "invalid_fields": {}}']
)
def test_raise_for_status_sets_title_and_detail_when_rejection_has_none(body: bytes) -> None:
    with pytest.raises(RejectedError) as caught:
        raise_for_status(build_response(404, body), Operation.CREATE)
    assert caught.value.title
    assert caught.value.detail


NOW = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)
SOON = format_datetime(NOW + timedelta(seconds=12), usegmt=True)
PAST = format_datetime(NOW - timedelta(hours=1), usegmt=True)


@pytest.mark.parametrize(
    ("body", "header", "expected"),
    [
        ({}, None, None),
        ({"retry_after": 5}, None, 5.0),
        ({"retry_after": "2.5"}, None, 2.5),
        ({"detail": "Request was throttled. Your rate limit resets in ~30s."}, None, 30.0),
        ({}, "7", 7.0),
        ({}, "2.5", 2.5),
        ({}, SOON, 12.0),
        ({}, PAST, 0.0),
        ({"retry_after": 5}, "9", 9.0),
        ({"retry_after": 9}, "5", 9.0),
        ({"retry_after": 86400}, None, MAX_MESSAGE_DELAY_SECONDS),
        ({"retry_after": -1}, None, None),
        ({"retry_after": True}, None, None),
        ({"retry_after": None}, "soon", None),
        ({"retry_after": [5]}, "", None),
        ({"retry_after": float("inf")}, "nan", None),
        ({"retry_after": 10**400}, None, None),
        ({"detail": ["resets in ~30s"]}, None, None),
    ],
)
def test_parse_retry_delay_returns_longest_stated_delay(
    body: dict[str, Any], header: str | None, expected: float | None
) -> None:
    assert parse_retry_delay(body, header, now=NOW) == expected


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3),
)


@given(
    body=st.dictionaries(st.sampled_from(["retry_after", "detail", "status"]), json_values),
    header=st.none() | st.text(max_size=40),
)
def test_parse_retry_delay_and_reduced_limit_stay_within_bounds(
    body: dict[str, Any], header: str | None
) -> None:
    delay = parse_retry_delay(body, header, now=NOW)
    assert delay is None or 0 <= delay <= MAX_MESSAGE_DELAY_SECONDS
    limit = parse_reduced_limit(body)
    assert limit is None or limit > 0


@pytest.mark.parametrize(
    ("detail", "expected"),
    [
        (
            "Your rate limit is reduced to 6 requests per minute with a burst of 1 requests",
            6,
        ),
        ("Your rate limit is reduced to 1 request per minute", 1),
        ("Request was throttled. Your rate limit resets in ~30s.", None),
        ("reduced to 0 requests per minute", None),
        (None, None),
    ],
)
def test_parse_reduced_limit_returns_stated_limit(detail: object, expected: int | None) -> None:
    assert parse_reduced_limit({"detail": detail}) == expected
