"""The real sender against real servers on loopback: what counts as success, and every way to fail."""

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


def make_sender(*, loopback: bool = True, timeout: float = 15.0) -> HttpSender:
    session = GuardedSession(
        AddressPolicy(allow_loopback=loopback), connect_timeout_seconds=3.0, read_timeout_seconds=timeout
    )
    return HttpSender(session, timeout_seconds=timeout, max_response_bytes=8192)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_2xx_is_success(status: int) -> None:
    with serve_http(lambda handler: send_response(handler, status=status)) as server:
        answer = make_sender().post(server.url("/hook"), HEADERS, b"{}")

    assert (answer.result, answer.status, answer.error_code) == (AttemptResult.DELIVERED, status, None)
    method, path, headers = server.requests[0]
    assert (method, path, headers["webhook-id"]) == ("POST", "/hook", "msg_1")


@pytest.mark.parametrize(
    ("status", "verdict", "failure"),
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
def test_anything_else_is_not(status: int, verdict: AttemptResult, failure: str) -> None:
    with serve_http(lambda handler: send_response(handler, status=status)) as server:
        answer = make_sender().post(server.url("/"), HEADERS, b"{}")

    assert (answer.result, answer.status, answer.error_code) == (verdict, status, failure)
    assert len(server.requests) == 1


def test_a_redirect_is_not_followed() -> None:
    with serve_http(send_response) as elsewhere:

        def redirect(handler: BaseHTTPRequestHandler) -> None:
            send_response(handler, status=307, location=elsewhere.url("/"))

        with serve_http(redirect) as server:
            answer = make_sender().post(server.url("/"), HEADERS, b"{}")

    assert (answer.status, answer.error_code, elsewhere.requests) == (307, "redirect", [])


def test_the_first_8_kib_of_the_answer_are_kept() -> None:
    with serve_http(lambda handler: send_response(handler, b"x" * 100_000)) as server:
        answer = make_sender().post(server.url("/"), HEADERS, b"{}")

    assert answer.body == "x" * 8192


def test_an_answer_that_is_no_text_is_kept_readable() -> None:
    with serve_http(lambda handler: send_response(handler, b"\xff\xfeok")) as server:
        answer = make_sender().post(server.url("/"), HEADERS, b"{}")

    assert answer.body.endswith("ok")


def test_a_receiver_that_hangs_is_given_up_after_the_total_time() -> None:
    wait = threading.Event()
    with serve_http(lambda _: discard(wait.wait(60))) as server:
        answer = make_sender(timeout=0.3).post(server.url("/"), HEADERS, b"{}")
        wait.set()

    assert (answer.result, answer.status, answer.error_code) == (AttemptResult.UNAVAILABLE, None, "timeout")
    assert 0.25 < answer.duration_seconds < 15
    assert answer.is_missing


def test_nobody_there_is_unreachable() -> None:
    with serve_http(send_response) as server:
        url = server.url("/")

    answer = make_sender().post(url, HEADERS, b"{}")
    assert (answer.result, answer.error_code) == (AttemptResult.UNAVAILABLE, "unreachable")


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
def test_addresses_inside_are_never_called(url: str) -> None:
    answer = make_sender(loopback=False).post(url, HEADERS, b"{}")
    assert (answer.result, answer.error_code) == (AttemptResult.UNAVAILABLE, "forbidden_address")


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
def test_what_a_receiver_asks_for_is_read(
    status: int, headers: dict[str, Any], instruction: str | None
) -> None:
    with serve_http(lambda handler: send_response(handler, status=status, **headers)) as server:
        assert make_sender().post(server.url("/"), HEADERS, b"{}").instruction == instruction


def test_retry_after_is_handed_on() -> None:
    with serve_http(lambda handler: send_response(handler, status=503, Retry_After="7")) as server:
        assert make_sender().post(server.url("/"), HEADERS, b"{}").retry_after == "7"
