"""The real sender against real servers on loopback: what counts as success, and every kind of failure."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from replicate_proxy.net.addresses import AddressPolicy
from replicate_proxy.net.session import GuardedSession
from replicate_proxy.webhooks.model import AttemptResult
from replicate_proxy.webhooks.sender import HttpSender
from tests.support.loopback import discard, send_response, serve_http

if TYPE_CHECKING:
    from http.server import BaseHTTPRequestHandler

HEADERS = {"content-type": "application/json", "webhook-id": "msg_1"}


def make_sender(*, allow_loopback: bool = True, timeout_seconds: float = 15.0) -> HttpSender:
    session = GuardedSession(
        AddressPolicy(allow_loopback=allow_loopback),
        connect_timeout_seconds=3.0,
        read_timeout_seconds=timeout_seconds,
    )
    return HttpSender(session, timeout_seconds=timeout_seconds, max_response_bytes=8192)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_2xx_is_delivered(status: int) -> None:
    with serve_http(lambda handler: send_response(handler, status=status)) as server:
        response = make_sender().post(server.url("/hook"), HEADERS, b"{}")

    assert (response.result, response.status) == (AttemptResult.DELIVERED, status)
    assert response.error_code is None
    method, path, headers = server.requests[0]
    assert (method, path, headers["webhook-id"]) == ("POST", "/hook", "msg_1")


@pytest.mark.parametrize(
    ("status", "result", "error_code"),
    [
        (301, AttemptResult.REJECTED, "redirect"),
        (400, AttemptResult.REJECTED, "http_4xx"),
        (404, AttemptResult.REJECTED, "http_4xx"),
        (429, AttemptResult.UNAVAILABLE, "http_4xx"),
        (500, AttemptResult.REJECTED, "http_5xx"),
        (503, AttemptResult.UNAVAILABLE, "http_5xx"),
        (600, AttemptResult.REJECTED, "http_other"),
    ],
)
def test_other_status_is_rejected_or_unavailable(status: int, result: AttemptResult, error_code: str) -> None:
    with serve_http(lambda handler: send_response(handler, status=status)) as server:
        response = make_sender().post(server.url("/"), HEADERS, b"{}")

    assert (response.result, response.status, response.error_code) == (result, status, error_code)
    assert len(server.requests) == 1


def test_redirect_is_not_followed() -> None:
    with serve_http(send_response) as other_server:

        def redirect(handler: BaseHTTPRequestHandler) -> None:
            send_response(handler, status=307, location=other_server.url("/"))

        with serve_http(redirect) as server:
            response = make_sender().post(server.url("/"), HEADERS, b"{}")

    assert (response.status, response.error_code) == (307, "redirect")
    assert other_server.requests == []


def test_response_body_is_cut_at_the_limit() -> None:
    with serve_http(lambda handler: send_response(handler, b"x" * 100_000)) as server:
        response = make_sender().post(server.url("/"), HEADERS, b"{}")

    assert response.body == "x" * 8192


def test_response_body_that_is_not_utf8_is_decoded_with_replacements() -> None:
    with serve_http(lambda handler: send_response(handler, b"\xff\xfeok")) as server:
        response = make_sender().post(server.url("/"), HEADERS, b"{}")

    assert response.body.endswith("ok")


def test_unresponsive_receiver_times_out() -> None:
    test_ended = threading.Event()
    with serve_http(lambda _: discard(test_ended.wait(60))) as server:
        response = make_sender(timeout_seconds=0.3).post(server.url("/"), HEADERS, b"{}")
        test_ended.set()

    assert (response.result, response.status) == (AttemptResult.UNAVAILABLE, None)
    assert response.error_code == "timeout"
    assert 0.25 < response.duration_seconds < 15
    assert response.is_missing


def test_refused_connection_is_unreachable() -> None:
    with serve_http(send_response) as server:
        url = server.url("/")

    response = make_sender().post(url, HEADERS, b"{}")
    assert (response.result, response.error_code) == (AttemptResult.UNAVAILABLE, "unreachable")


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:9/",
        "https://127.0.0.1/",
        "https://169.254.169.254/latest/meta-data/",
        "https://[::ffff:10.0.0.1]/",
        "https://user@app.example/",
    ],
)
def test_internal_address_is_forbidden(url: str) -> None:
    response = make_sender(allow_loopback=False).post(url, HEADERS, b"{}")
    assert (response.result, response.error_code) == (AttemptResult.UNAVAILABLE, "forbidden_address")


@pytest.mark.parametrize(
    ("status", "headers", "instruction"),
    [
        (410, {}, "gone"),
        (503, {"webhook_delivery": "disable"}, "disable"),
        (503, {"Webhook_Delivery": " Abort-Message "}, "abort-message"),
        (503, {"webhook_delivery": "dance"}, None),
        (200, {}, None),
    ],
)
def test_instruction_of_receiver_is_parsed(
    status: int, headers: dict[str, Any], instruction: str | None
) -> None:
    with serve_http(lambda handler: send_response(handler, status=status, **headers)) as server:
        assert make_sender().post(server.url("/"), HEADERS, b"{}").instruction == instruction


def test_retry_after_header_is_returned() -> None:
    with serve_http(lambda handler: send_response(handler, status=503, Retry_After="7")) as server:
        assert make_sender().post(server.url("/"), HEADERS, b"{}").retry_after == "7"


@pytest.mark.parametrize("error", [ValueError("label too long"), UnicodeError(), RuntimeError(), OSError()])
def test_any_failure_to_send_is_a_response_for_the_record(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(GuardedSession, "request", fail)

    response = make_sender().post("https://app.example/", HEADERS, b"{}")

    assert (response.result, response.error_code) == (AttemptResult.UNAVAILABLE, "send_failed")


@pytest.mark.parametrize("url", ["", "https://☃.net/hook", "https://[v1.a]/", "https://ex\u200damp.com/"])
def test_url_that_cannot_be_called_is_a_forbidden_address(url: str) -> None:
    assert make_sender().post(url, HEADERS, b"{}").error_code == "forbidden_address"
