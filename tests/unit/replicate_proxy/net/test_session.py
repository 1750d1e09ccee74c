"""Guarded requests over real sockets on loopback."""

from __future__ import annotations

import contextlib
import gzip
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
    from collections.abc import Iterator
    from http.server import BaseHTTPRequestHandler
    from pathlib import Path

    from replicate_proxy.net.transport import Resolver

pytestmark = pytest.mark.enable_socket

LOCAL = AddressPolicy(allow_loopback=True)


def build_session(**options: object) -> GuardedSession:
    return GuardedSession(LOCAL, connect_timeout_seconds=1, read_timeout_seconds=1, **options)  # type: ignore[arg-type] # options are fields of any type


def test_request_returns_status_headers_and_body() -> None:
    with serve_http(lambda handler: send_response(handler, b"hello", ETag="abc")) as server:
        response = build_session().request("GET", server.url("/a?b=c"), timeout_seconds=5)

    assert (response.status, response.read(), response.headers["etag"]) == (200, b"hello", "abc")
    assert server.requests[0].path == "/a?b=c"
    assert server.requests[0].headers["Accept-Encoding"] == "identity"


def test_post_sends_body_and_headers() -> None:
    def respond(handler: BaseHTTPRequestHandler) -> None:
        send_response(handler, handler.rfile.read(int(handler.headers["Content-Length"])))

    with serve_http(respond) as server:
        response = build_session().request(
            "POST", server.url("/hook"), timeout_seconds=5, headers={"webhook-id": "m1"}, data=b'{"a":1}'
        )

    assert response.read() == b'{"a":1}'
    assert server.requests[0].headers["webhook-id"] == "m1"


def test_request_returns_response_when_status_is_error() -> None:
    with serve_http(lambda handler: send_response(handler, b"gone", status=410)) as server:
        assert build_session().request("GET", server.url("/"), timeout_seconds=5).status == 410


def test_read_prefix_returns_first_bytes_of_oversized_body() -> None:
    with (
        serve_http(lambda handler: send_response(handler, b"x" * 1_000_000)) as server,
        build_session().request(
            "GET", server.url("/"), timeout_seconds=5, stream=True, max_bytes=10
        ) as response,
    ):
        assert response.read_prefix(100) == b"x" * 100


@pytest.mark.parametrize("with_content_length", [True, False])
def test_request_raises_when_body_exceeds_limit(with_content_length: bool) -> None:
    def respond(handler: BaseHTTPRequestHandler) -> None:
        if with_content_length:
            send_response(handler, b"x" * 2000)
        else:
            handler.send_response(200)
            handler.end_headers()
            handler.wfile.write(b"x" * 2000)

    with serve_http(respond) as server, pytest.raises(ResponseTooLargeError):
        build_session().request("GET", server.url("/"), timeout_seconds=5, max_bytes=1999)


def test_request_raises_when_body_is_shorter_than_content_length() -> None:
    with (
        serve_http(lambda handler: send_response(handler, b"half", Content_Length="8")) as server,
        pytest.raises(UnreachableError),
    ):
        build_session().request("GET", server.url("/"), timeout_seconds=5)


@pytest.mark.parametrize("encoding", ["gzip", "utf-8, gzip", "aws-chunked,gzip"])
def test_compressed_body_is_decoded(encoding: str) -> None:
    body = gzip.compress(b"hello")
    with serve_http(lambda handler: send_response(handler, body, Content_Encoding=encoding)) as server:
        response = build_session().request("GET", server.url("/"), timeout_seconds=5)

    assert (response.read(), response.has_known_encoding) == (b"hello", True)


def test_body_with_unknown_encoding_is_read_as_it_was_sent() -> None:
    with serve_http(lambda handler: send_response(handler, b"\x0b\x02", Content_Encoding="br")) as server:
        response = build_session().request("GET", server.url("/"), timeout_seconds=5)

    assert (response.read(), response.has_known_encoding) == (b"\x0b\x02", False)


def test_decoded_body_is_bounded() -> None:
    bomb = gzip.compress(b"x" * 10_000_000)
    with (
        serve_http(lambda handler: send_response(handler, bomb, Content_Encoding="gzip")) as server,
        pytest.raises(ResponseTooLargeError),
    ):
        build_session().request("GET", server.url("/"), timeout_seconds=5, max_bytes=1_000_000)


def test_read_prefix_decodes_a_compressed_body() -> None:
    body = gzip.compress(b"hello " * 1000)
    with (
        serve_http(lambda handler: send_response(handler, body, Content_Encoding="gzip")) as server,
        build_session().request("GET", server.url("/"), timeout_seconds=5, stream=True) as response,
    ):
        assert response.read_prefix(11) == b"hello hello"


def test_request_raises_when_server_is_silent_for_read_timeout() -> None:
    request_failed = threading.Event()
    with serve_http(lambda _: discard(request_failed.wait(10))) as server:
        with pytest.raises(RequestTimeoutError):
            GuardedSession(LOCAL, read_timeout_seconds=0.2).request(
                "GET", server.url("/"), timeout_seconds=30
            )
        request_failed.set()


@pytest.mark.parametrize("slow_part", ["body", "headers"])
def test_request_raises_when_slow_stream_exceeds_total_timeout(slow_part: str) -> None:
    def respond(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
        if slow_part == "body":
            handler.wfile.write(b"Content-Length: 100000\r\n\r\n")
        send_slowly(handler, seconds=60)

    with serve_http(respond) as server:
        start = time.monotonic()
        with pytest.raises(RequestTimeoutError):
            build_session().request("GET", server.url("/"), timeout_seconds=0.5)
        assert time.monotonic() - start < 30


class TestRedirects:
    def test_redirect_is_returned_by_default(self) -> None:
        with serve_http(lambda handler: send_response(handler, status=302, Location="/next")) as server:
            response = build_session().request("GET", server.url("/"), timeout_seconds=5)

        assert response.status == 302
        assert len(server.requests) == 1

    def test_redirects_are_followed_up_to_the_limit(self) -> None:
        with serve_http(self.count_down) as server:
            response = build_session(max_redirects=2).request("GET", server.url("/2"), timeout_seconds=5)
            assert response.read() == b"there"
            with pytest.raises(InvalidResponseError):
                build_session(max_redirects=2).request("GET", server.url("/3"), timeout_seconds=5)

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
    def test_redirect_to_forbidden_url_raises(self, location: str) -> None:
        with (
            serve_http(lambda handler: send_response(handler, status=302, Location=location)) as server,
            pytest.raises(ForbiddenUrlError),
        ):
            build_session(max_redirects=3).request("GET", server.url("/"), timeout_seconds=5)

    def test_redirect_to_host_off_the_allowlist_raises(self) -> None:
        allowed = {"127.0.0.1"}.__contains__
        with (
            serve_http(
                lambda handler: send_response(handler, status=307, Location="http://127.0.0.2/")
            ) as server,
            pytest.raises(ForbiddenUrlError),
        ):
            build_session(max_redirects=3, is_allowed_host=allowed).request(
                "GET", server.url("/"), timeout_seconds=5
            )

    def test_redirect_to_other_origin_drops_credentials(self) -> None:
        with (
            serve_http(lambda handler: send_response(handler, b"there")) as other,
            serve_http(lambda handler: send_response(handler, status=302, Location=other.url("/"))) as first,
        ):
            build_session(max_redirects=1).request(
                "GET",
                first.url("/"),
                timeout_seconds=5,
                headers={"Authorization": "Bearer x", "Accept": "*/*"},
            )

        assert "Authorization" in first.requests[0].headers
        assert "Authorization" not in other.requests[0].headers
        assert other.requests[0].headers["Accept"] == "*/*"

    @staticmethod
    def count_down(handler: BaseHTTPRequestHandler) -> None:
        redirects_left = int(handler.path[1:])
        if redirects_left:
            send_response(handler, status=302, Location=f"/{redirects_left - 1}")
        else:
            send_response(handler, b"there")


class TestResolvedAddress:
    def test_host_name_is_used_for_sni_host_header_and_certificate(self, tmp_path: Path) -> None:
        tls = create_tls_contexts("files.localhost", tmp_path)
        with serve_http(lambda handler: send_response(handler, b"ok"), tls_context=tls.server) as server:
            guarded = build_session(tls_context=tls.client, resolver=resolve_to("127.0.0.1"))
            url = server.url("/", scheme="https", host="files.localhost")
            assert guarded.request("GET", url, timeout_seconds=5).read() == b"ok"

        assert server.requests[0].headers["Host"] == f"files.localhost:{server.port}"

    def test_certificate_for_other_name_raises(self, tmp_path: Path) -> None:
        tls = create_tls_contexts("files.localhost", tmp_path)
        with serve_http(lambda handler: send_response(handler, b"ok"), tls_context=tls.server) as server:
            guarded = build_session(tls_context=tls.client, resolver=resolve_to("127.0.0.1"))
            with pytest.raises(UnreachableError):
                guarded.request(
                    "GET", server.url("/", scheme="https", host="other.example"), timeout_seconds=5
                )

        assert server.requests == []

    def test_certificate_of_unknown_authority_raises(self, tmp_path: Path) -> None:
        tls = create_tls_contexts("files.localhost", tmp_path)
        with serve_http(lambda handler: send_response(handler, b"ok"), tls_context=tls.server) as server:
            guarded = build_session(resolver=resolve_to("127.0.0.1"))
            with pytest.raises(UnreachableError):
                guarded.request(
                    "GET", server.url("/", scheme="https", host="files.localhost"), timeout_seconds=5
                )

    def test_private_address_among_public_ones_raises(self) -> None:
        guarded = GuardedSession(AddressPolicy(), resolver=resolve_to("8.8.8.8", "10.0.0.1"))
        with pytest.raises(ForbiddenAddressError):
            guarded.request("GET", "https://files.example/", timeout_seconds=5)

    def test_host_name_is_resolved_once(self) -> None:
        resolutions = iter([["127.0.0.1"], ["10.0.0.1"]])
        with serve_http(lambda handler: send_response(handler, b"ok")) as server:
            guarded = build_session(resolver=lambda *_: next(resolutions))
            guarded.request("GET", server.url("/", host="files.localhost"), timeout_seconds=5)

        assert len(server.requests) == 1
        assert next(resolutions) == ["10.0.0.1"]

    def test_http_to_public_address_raises(self) -> None:
        guarded = build_session(resolver=resolve_to("8.8.8.8"))
        with pytest.raises(ForbiddenUrlError):
            guarded.request("GET", "http://files.localhost/", timeout_seconds=5)

    def test_host_without_address_raises_retryable_error(self) -> None:
        guarded = GuardedSession(AddressPolicy(), resolver=resolve_to())
        with pytest.raises(UnreachableError):
            guarded.request("GET", "https://files.example/", timeout_seconds=5)

    def test_refused_connection_raises_retryable_error(self) -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            port = unused.getsockname()[1]
        with pytest.raises(UnreachableError):
            build_session().request("GET", f"http://127.0.0.1:{port}/", timeout_seconds=5)


class TestTotalTimeout:
    def test_many_silent_addresses_share_total_timeout(self) -> None:
        with accept_nothing() as port:
            guarded = build_session(resolver=resolve_to(*["127.0.0.1"] * 20))
            start = time.monotonic()
            with pytest.raises(RequestTimeoutError):
                guarded.request("GET", f"http://files.localhost:{port}/", timeout_seconds=1.5)
            assert time.monotonic() - start < 10

    def test_few_of_many_addresses_are_tried(self) -> None:
        with accept_nothing() as port:
            guarded = GuardedSession(
                LOCAL, connect_timeout_seconds=0.1, resolver=resolve_to(*["127.0.0.1"] * 200)
            )
            start = time.monotonic()
            with pytest.raises(RequestTimeoutError):
                guarded.request("GET", f"http://files.localhost:{port}/", timeout_seconds=60)
            assert time.monotonic() - start < 10

    def test_slow_name_resolution_counts(self) -> None:
        request_failed = threading.Event()

        def resolve_late(_host: str, _port: int) -> list[str]:
            request_failed.wait(30)
            return ["127.0.0.1"]

        start = time.monotonic()
        with pytest.raises(RequestTimeoutError):
            build_session(resolver=resolve_late).request(
                "GET", "http://files.localhost:1/", timeout_seconds=0.3
            )
        assert time.monotonic() - start < 10
        request_failed.set()

    def test_error_of_resolver_reaches_caller(self) -> None:
        def fail(_host: str, _port: int) -> list[str]:
            raise UnreachableError("the host name does not resolve")

        with pytest.raises(UnreachableError, match="does not resolve"):
            build_session(resolver=fail).request("GET", "http://files.localhost:1/", timeout_seconds=5)

    def test_address_of_other_family_is_tried_before_the_limit(self) -> None:
        with serve_http(lambda handler: send_response(handler, b"ok")) as server:
            guarded = build_session(resolver=resolve_to(*["::1"] * 20, "127.0.0.1"))
            url = server.url("/", host="files.localhost")
            assert guarded.request("GET", url, timeout_seconds=5).read() == b"ok"


def test_proxy_of_the_environment_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    with serve_http(lambda handler: send_response(handler, b"direct")) as server:
        assert build_session().request("GET", server.url("/"), timeout_seconds=5).read() == b"direct"


def test_failed_read_leaves_no_socket_open() -> None:
    with serve_http(lambda handler: send_response(handler, b"x" * 10_000)) as server:
        for _ in range(3):
            with pytest.raises(ResponseTooLargeError):
                build_session().request("GET", server.url("/"), timeout_seconds=5, max_bytes=10)
    # pytest fails on the ResourceWarning of an unclosed socket (filterwarnings = error).


@contextlib.contextmanager
def accept_nothing() -> Iterator[int]:
    """Yield a port on loopback that neither accepts nor refuses connections, as if packets were dropped."""
    with contextlib.ExitStack() as sockets:
        listener = sockets.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            # The kernel drops the SYN packets once the backlog is full.
            client = sockets.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


def send_slowly(handler: BaseHTTPRequestHandler, seconds: float) -> None:
    """Send a byte every 20 ms, within any read timeout."""
    end = time.monotonic() + seconds
    never_set = threading.Event()
    try:
        while time.monotonic() < end:
            handler.wfile.write(b"x")
            handler.wfile.flush()
            never_set.wait(0.02)
    except OSError:
        return


def resolve_to(*addresses: str) -> Resolver:
    """Return a resolver that always returns `addresses`."""
    return lambda _host, _port: addresses


@pytest.mark.parametrize(
    ("path", "requested"),
    [("/straße", "/stra%C3%9Fe"), ("/a%20b/../c", "/a%20b/../c"), ("/a?x=%7E~", "/a?x=%7E~"), ("", "/")],
)
def test_request_calls_the_normalized_url(path: str, requested: str) -> None:
    with serve_http(lambda handler: send_response(handler, b"")) as server:
        build_session().request("GET", server.url("") + path, timeout_seconds=5)

    assert server.requests[0].path == requested


def test_request_resolves_and_names_the_host_that_was_checked() -> None:
    resolved: list[str] = []

    def resolve(host: str, _port: int) -> list[str]:
        resolved.append(host)
        raise UnreachableError("no network")

    session = build_session(resolver=resolve, is_allowed_host=lambda host: host == "xn--fa-hia.example")
    with pytest.raises(UnreachableError):
        session.request("GET", "https://faß.example/", timeout_seconds=5)
    assert resolved == ["xn--fa-hia.example"]
    with pytest.raises(ForbiddenUrlError):
        session.request("GET", "https://fass.example/", timeout_seconds=5)


@pytest.mark.parametrize("location", ["/my file.png", "/my%20file.png", "/straße".encode().decode("latin-1")])
def test_redirect_is_followed_when_its_location_needs_escapes(location: str) -> None:
    def respond(handler: BaseHTTPRequestHandler) -> None:
        if handler.path == "/":
            send_response(handler, b"", status=302, Location=location)
        else:
            send_response(handler, handler.path.encode())

    with serve_http(respond) as server:
        response = build_session(max_redirects=1).request("GET", server.url("/"), timeout_seconds=5)

    assert response.read() in {b"/my%20file.png", b"/stra%C3%9Fe"}


@pytest.mark.parametrize("location", ["https://[::1", "https://\xff\xfe/", "//[x]/"])
def test_redirect_is_refused_when_its_location_is_no_url(location: str) -> None:
    with (
        serve_http(lambda handler: send_response(handler, b"", status=302, Location=location)) as server,
        pytest.raises(ForbiddenUrlError),
    ):
        build_session(max_redirects=1).request("GET", server.url("/"), timeout_seconds=5)


def test_request_reports_a_response_that_is_not_http_as_unreachable() -> None:
    def respond(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"\x00\xff" * 100 + b"\r\n\r\n")

    with serve_http(respond) as server, pytest.raises(UnreachableError):
        build_session().request("GET", server.url("/"), timeout_seconds=5)
