"""No exception of the HTTP libraries gets through untranslated, and each is taken for what it proves."""

from __future__ import annotations

import http.client
import inspect
import ssl

import pytest
import requests
import urllib3.exceptions

from replicate_proxy.errors import ProxyError
from replicate_proxy.replicate_api.error_mapping import (
    Operation,
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


def classes(module: object, base: type[BaseException]) -> list[type[BaseException]]:
    found = [entry for _, entry in inspect.getmembers(module, inspect.isclass) if issubclass(entry, base)]
    return [entry for entry in found if not issubclass(entry, Warning)]


FOREIGN = sorted(
    {
        *classes(requests.exceptions, requests.RequestException),
        *classes(urllib3.exceptions, urllib3.exceptions.HTTPError),
        *classes(http.client, http.client.HTTPException),
        ConnectionResetError,
        BrokenPipeError,
        TimeoutError,
        ssl.SSLError,
        UnicodeError,
    },
    key=lambda entry: f"{entry.__module__}.{entry.__name__}",
)


def made(kind: type[BaseException]) -> BaseException:
    """An instance without its constructor, whose arguments differ from class to class."""
    return kind.__new__(kind)


def outcome(operation: Operation, cause: BaseException, *, watched: bool = True, sent: bool) -> ProxyError:
    """What a request ends in whose transport raises `cause`."""

    def send() -> None:
        with translate_transport_errors(operation) as wire:
            wire.handed_to_transport, wire.transport_tracks_sending, wire.send_started = True, watched, sent
            raise cause

    with pytest.raises(ProxyError) as caught:
        send()
    return caught.value


@pytest.mark.parametrize("kind", FOREIGN, ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
class TestEveryForeignException:
    def test_before_anything_was_sent_it_was_certainly_not_accepted(self, kind: type[BaseException]) -> None:
        for operation in Operation:
            assert type(outcome(operation, made(kind), sent=False)) is NotAcceptedError

    def test_after_sending_a_create_is_unknown(self, kind: type[BaseException]) -> None:
        assert type(outcome(Operation.CREATE, made(kind), sent=True)) is OutcomeUnknownError

    def test_in_the_hands_of_a_foreign_transport_a_create_is_unknown(self, kind: type[BaseException]) -> None:
        error = outcome(Operation.CREATE, made(kind), watched=False, sent=False)
        assert type(error) is OutcomeUnknownError

    def test_after_sending_anything_else_may_be_asked_again(self, kind: type[BaseException]) -> None:
        assert type(outcome(Operation.IDEMPOTENT, made(kind), sent=True)) is UpstreamUnavailableError


def test_the_cause_is_kept_and_its_text_is_not_repeated() -> None:
    cause = requests.exceptions.InvalidHeader("value: 'Bearer r8_secret'")
    error = outcome(Operation.CREATE, cause, sent=True)
    assert error.__cause__ is cause
    assert "r8_secret" not in str(error)


def test_our_own_bugs_are_not_taken_for_network_trouble() -> None:
    with pytest.raises(KeyError), translate_transport_errors(Operation.CREATE):
        raise KeyError("a bug")


def reply(status: int, body: bytes = b"") -> UpstreamResponse:
    return UpstreamResponse(status, {}, body)


def meaning(status: int) -> type:
    try:
        raise_for_status(reply(status), Operation.CREATE)
    except ProxyError as error:
        return type(error)
    return UpstreamResponse


def test_every_status_of_a_create_has_one_meaning() -> None:
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
    assert {status: meaning(status) for status in expected} == expected


@pytest.mark.parametrize("status", [500, 502, 503, 504, 599])
def test_a_5xx_of_a_read_may_be_asked_again_when_the_server_says(status: int) -> None:
    with pytest.raises(UpstreamUnavailableError) as caught:
        raise_for_status(UpstreamResponse(status, {"retry-after": "7"}, b""), Operation.IDEMPOTENT)
    assert caught.value.retry_after == 7.0


def test_a_429_without_any_hint_still_says_when() -> None:
    with pytest.raises(ThrottledError) as caught:
        raise_for_status(reply(429), Operation.CREATE)
    assert caught.value.retry_after > 0
    assert caught.value.limit_per_minute is None


def test_the_429_of_an_account_low_on_credit() -> None:
    body = (
        b'{"detail":"Request was throttled. Your rate limit for creating predictions is reduced to 6 requests'
        b" per minute with a burst of 1 requests while you have less than $5.0 in credit. Your rate limit"
        b' resets in ~5s.",'
        b'"status":429,"retry_after":5}'
    )
    with pytest.raises(ThrottledError) as caught:
        raise_for_status(reply(429, body), Operation.CREATE)
    assert caught.value.retry_after == 5.0
    assert caught.value.limit_per_minute == 6


def test_a_rejection_keeps_replicates_words() -> None:
    body = (
        b'{"title":"Input validation failed","detail":"- Additional property signal is not allowed\\n",'
        b'"status":422,"invalid_fields":[{"type":"additional_property_not_allowed","field":"",'
        b'"description":"not allowed"},"odd"]}'
    )
    with pytest.raises(RejectedError) as caught:
        raise_for_status(reply(422, body), Operation.CREATE)
    error = caught.value
    assert (error.status, error.title) == (422, "Input validation failed")
    assert error.detail == "- Additional property signal is not allowed\n"
    assert [field.type for field in error.invalid_fields] == ["additional_property_not_allowed"]
    assert "signal" not in str(error), "the message may be logged, the detail may quote the input"


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[]", b'{"detail": 7, "title": null, "invalid_fields": {}}']
)
def test_a_rejection_in_any_other_form_has_a_title_and_a_detail(body: bytes) -> None:
    with pytest.raises(RejectedError) as caught:
        raise_for_status(reply(404, body), Operation.CREATE)
    assert caught.value.title
    assert caught.value.detail
