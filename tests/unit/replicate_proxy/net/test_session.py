"""Guarded requests over real sockets on this machine."""

from __future__ import annotations

import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest

from replicate_proxy.net.addresses import AddressPolicy
from replicate_proxy.net.errors import (
    ForbiddenAddressError,
    ForbiddenUrlError,
    InvalidResponseError,
    RequestTimeoutError,
    ResponseTooLargeError,
    UnreachableError,
)
from replicate_proxy.net.session import GuardedSession
from tests.support.loopback import create_tls_contexts, discard, send_response, serve_http

if TYPE_CHECKING:
    from http.server import BaseHTTPRequestHandler
    from pathlib import Path

    from replicate_proxy.net.transport import Resolver

pytestmark = pytest.mark.enable_socket

LOCAL = AddressPolicy(allow_loopback=True)


def session(**options: object) -> GuardedSession:
    return GuardedSession(LOCAL, connect_timeout_seconds=1, read_timeout_seconds=1, **options)  # type: ignore[arg-type] # any field


def test_a_body_is_read_whole_with_status_and_headers() -> None:
    with serve_http(lambda handler: send_response(handler, b"hello", ETag="abc")) as server:
        response = session().request("GET", server.url("/a?b=c"), timeout_seconds=5)

    assert (response.status, response.read(), response.headers["etag"]) == (200, b"hello", "abc")
    assert server.requests[0][1] == "/a?b=c"
    assert server.requests[0][2]["Accept-Encoding"] == "identity"


def test_a_post_carries_body_and_headers() -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        send_response(handler, handler.rfile.read(int(handler.headers["Content-Length"])))

    with serve_http(answer) as server:
        response = session().request(
            "POST", server.url("/hook"), timeout_seconds=5, headers={"webhook-id": "m1"}, data=b'{"a":1}'
        )

    assert response.read() == b'{"a":1}'
    assert server.requests[0][2]["webhook-id"] == "m1"


def test_an_error_status_is_an_answer() -> None:
    with serve_http(lambda handler: send_response(handler, b"gone", status=410)) as server:
        assert session().request("GET", server.url("/"), timeout_seconds=5).status == 410


def test_the_first_bytes_can_be_had_without_the_rest() -> None:
    with (
        serve_http(lambda handler: send_response(handler, b"x" * 1_000_000)) as server,
        session().request("GET", server.url("/"), timeout_seconds=5, stream=True, max_bytes=10) as response,
    ):
        assert response.read_prefix(100) == b"x" * 100


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_beyond_the_limit_is_refused(announced: bool) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        if announced:
            send_response(handler, b"x" * 2000)
        else:
            handler.send_response(200)
            handler.end_headers()
            handler.wfile.write(b"x" * 2000)

    with serve_http(answer) as server, pytest.raises(ResponseTooLargeError):
        session().request("GET", server.url("/"), timeout_seconds=5, max_bytes=1999)


def test_a_body_that_ends_early_is_no_body() -> None:
    with (
        serve_http(lambda handler: send_response(handler, b"half", Content_Length="8")) as server,
        pytest.raises(UnreachableError),
    ):
        session().request("GET", server.url("/"), timeout_seconds=5)


def test_a_compressed_body_is_not_unpacked() -> None:
    with (
        serve_http(lambda handler: send_response(handler, b"\x1f\x8b", Content_Encoding="gzip")) as server,
        pytest.raises(InvalidResponseError),
    ):
        session().request("GET", server.url("/"), timeout_seconds=5)


def test_silence_ends_after_the_read_timeout() -> None:
    wait = threading.Event()
    with serve_http(lambda _: discard(wait.wait(10))) as server:
        with pytest.raises(RequestTimeoutError):
            GuardedSession(LOCAL, read_timeout_seconds=0.2).request(
                "GET", server.url("/"), timeout_seconds=30
            )
        wait.set()


@pytest.mark.parametrize("where", ["body", "headers"])
def test_a_trickle_of_bytes_cannot_outlast_the_total_time(where: str) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
        if where == "body":
            handler.wfile.write(b"Content-Length: 100000\r\n\r\n")
        trickle(handler, 60)

    with serve_http(answer) as server:
        began = time.monotonic()
        with pytest.raises(RequestTimeoutError):
            session().request("GET", server.url("/"), timeout_seconds=0.5)
        assert time.monotonic() - began < 30


class TestRedirects:
    def test_are_not_followed_unless_asked_for(self) -> None:
        with serve_http(lambda handler: send_response(handler, status=302, Location="/next")) as server:
            response = session().request("GET", server.url("/"), timeout_seconds=5)

        assert response.status == 302
        assert len(server.requests) == 1

    def test_are_followed_up_to_the_limit(self) -> None:
        with serve_http(self.down_to_zero) as server:
            response = session(max_redirects=2).request("GET", server.url("/2"), timeout_seconds=5)
            assert response.read() == b"there"
            with pytest.raises(InvalidResponseError):
                session(max_redirects=2).request("GET", server.url("/3"), timeout_seconds=5)

    @pytest.mark.parametrize(
        "location",
        [
            "http://169.254.169.254/latest/meta-data/",
            "http://2130706433/",
            "http://10.0.0.1/",
            "http://[::ffff:10.0.0.1]/",
            "file:///etc/passwd",
            "http://user@127.0.0.1/",
        ],
    )
    def test_each_hop_is_checked_as_the_first_one_was(self, location: str) -> None:
        with (
            serve_http(lambda handler: send_response(handler, status=302, Location=location)) as server,
            pytest.raises(ForbiddenUrlError),
        ):
            session(max_redirects=3).request("GET", server.url("/"), timeout_seconds=5)

    def test_a_hop_to_a_host_that_is_not_allowed_is_refused(self) -> None:
        allowed = {"127.0.0.1"}.__contains__
        with (
            serve_http(
                lambda handler: send_response(handler, status=307, Location="http://127.0.0.2/")
            ) as server,
            pytest.raises(ForbiddenUrlError),
        ):
            session(max_redirects=3, is_allowed_host=allowed).request(
                "GET", server.url("/"), timeout_seconds=5
            )

    def test_credentials_do_not_cross_to_another_origin(self) -> None:
        with (
            serve_http(lambda handler: send_response(handler, b"there")) as other,
            serve_http(lambda handler: send_response(handler, status=302, Location=other.url("/"))) as first,
        ):
            session(max_redirects=1).request(
                "GET",
                first.url("/"),
                timeout_seconds=5,
                headers={"Authorization": "Bearer x", "Accept": "*/*"},
            )

        assert "Authorization" in first.requests[0][2]
        assert "Authorization" not in other.requests[0][2]
        assert other.requests[0][2]["Accept"] == "*/*"

    @staticmethod
    def down_to_zero(handler: BaseHTTPRequestHandler) -> None:
        left = int(handler.path[1:])
        if left:
            send_response(handler, status=302, Location=f"/{left - 1}")
        else:
            send_response(handler, b"there")


class TestPinning:
    def test_the_name_stays_for_sni_host_and_certificate(self, tmp_path: Path) -> None:
        trusted = create_tls_contexts("files.example", tmp_path)
        with serve_http(lambda handler: send_response(handler, b"ok"), tls=trusted.server) as server:
            guarded = session(tls_context=trusted.client, resolver=always("127.0.0.1"))
            url = server.url("/", scheme="https", host="files.example")
            assert guarded.request("GET", url, timeout_seconds=5).read() == b"ok"

        assert server.requests[0][2]["Host"] == f"files.example:{server.port}"

    def test_a_certificate_for_another_name_is_refused(self, tmp_path: Path) -> None:
        trusted = create_tls_contexts("files.example", tmp_path)
        with serve_http(lambda handler: send_response(handler, b"ok"), tls=trusted.server) as server:
            guarded = session(tls_context=trusted.client, resolver=always("127.0.0.1"))
            with pytest.raises(UnreachableError):
                guarded.request(
                    "GET", server.url("/", scheme="https", host="other.example"), timeout_seconds=5
                )

        assert server.requests == []

    def test_an_unknown_authority_is_refused(self, tmp_path: Path) -> None:
        trusted = create_tls_contexts("files.example", tmp_path)
        with serve_http(lambda handler: send_response(handler, b"ok"), tls=trusted.server) as server:
            guarded = session(resolver=always("127.0.0.1"))
            with pytest.raises(UnreachableError):
                guarded.request(
                    "GET", server.url("/", scheme="https", host="files.example"), timeout_seconds=5
                )

    def test_one_private_answer_among_public_ones_refuses_the_host(self) -> None:
        guarded = GuardedSession(AddressPolicy(), resolver=always("8.8.8.8", "10.0.0.1"))
        with pytest.raises(ForbiddenAddressError):
            guarded.request("GET", "https://files.example/", timeout_seconds=5)

    def test_a_name_is_resolved_once_so_that_a_second_answer_cannot_differ(self) -> None:
        answers = iter([["127.0.0.1"], ["10.0.0.1"]])
        with serve_http(lambda handler: send_response(handler, b"ok")) as server:
            guarded = session(resolver=lambda *_: next(answers))
            guarded.request("GET", server.url("/", host="files.example"), timeout_seconds=5)

        assert len(server.requests) == 1
        assert next(answers) == ["10.0.0.1"]

    def test_http_never_leaves_this_machine(self) -> None:
        guarded = session(resolver=always("8.8.8.8"))
        with pytest.raises(ForbiddenUrlError):
            guarded.request("GET", "http://files.example/", timeout_seconds=5)

    def test_a_name_without_address_may_get_one_later(self) -> None:
        guarded = GuardedSession(AddressPolicy(), resolver=always())
        with pytest.raises(UnreachableError):
            guarded.request("GET", "https://files.example/", timeout_seconds=5)

    def test_a_refused_connection_may_succeed_later(self) -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            port = unused.getsockname()[1]
        with pytest.raises(UnreachableError):
            session().request("GET", f"http://127.0.0.1:{port}/", timeout_seconds=5)


def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    with serve_http(lambda handler: send_response(handler, b"direct")) as server:
        assert session().request("GET", server.url("/"), timeout_seconds=5).read() == b"direct"


def test_no_socket_is_left_open_behind_a_failed_read() -> None:
    with serve_http(lambda handler: send_response(handler, b"x" * 10_000)) as server:
        for _ in range(3):
            with pytest.raises(ResponseTooLargeError):
                session().request("GET", server.url("/"), timeout_seconds=5, max_bytes=10)
    # pytest turns an unclosed socket into a failure: filterwarnings = error.


def trickle(handler: BaseHTTPRequestHandler, seconds: float) -> None:
    """One byte every fiftieth of a second, each in time for any read timeout."""
    end = time.monotonic() + seconds
    pause = threading.Event()
    try:
        while time.monotonic() < end:
            handler.wfile.write(b"x")
            handler.wfile.flush()
            pause.wait(0.02)
    except OSError:
        return


def always(*addresses: str) -> Resolver:
    """A resolver that knows one answer."""
    return lambda _host, _port: addresses
