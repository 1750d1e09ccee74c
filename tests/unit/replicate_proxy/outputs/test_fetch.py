"""Fetching files: from a real server on this machine, and out of data URIs."""

from __future__ import annotations

import base64
import gzip
import hashlib
import tempfile
import zlib
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_proxy.net.addresses import AddressPolicy
from replicate_proxy.net.errors import UnreachableError
from replicate_proxy.net.session import GuardedSession
from replicate_proxy.outputs.fetch import (
    DiskBudget,
    FetchDeferredError,
    HostAllowlist,
    HttpFileFetcher,
    PermanentFetchError,
    TransientFetchError,
    decode_data_uri,
)
from tests.support.loopback import send_response, serve_http

BODY = bytes(range(256)) * 4096
MEBIBYTE = 1024 * 1024


def make_fetcher(
    *, hosts: tuple[str, ...] = ("127.0.0.1",), disk_bytes: int = 10_000_000, max_redirects: int = 0
) -> HttpFileFetcher:
    session = GuardedSession(
        AddressPolicy(allow_loopback=True),
        is_allowed_host=HostAllowlist(hosts),
        max_redirects=max_redirects,
        read_timeout_seconds=2,
    )
    return HttpFileFetcher(session, disk_budget=DiskBudget(disk_bytes))


@pytest.mark.enable_socket
class TestHttpFileFetcher:
    def test_fetch_writes_file_with_size_and_hash(self, tmp_path: Path) -> None:
        target = tmp_path / "file"
        with serve_http(lambda handler: send_response(handler, BODY)) as server:
            fetched = make_fetcher().fetch(
                server.url("/a.bin"), target, max_bytes=len(BODY), timeout_seconds=10
            )

        assert target.read_bytes() == BODY
        assert (fetched.size, fetched.sha256) == (len(BODY), hashlib.sha256(BODY).hexdigest())
        assert fetched.head == BODY[:4096]

    def test_fetch_decodes_data_uri_without_server(self, tmp_path: Path) -> None:
        target = tmp_path / "file"
        uri = "data:text/plain;base64,aGk="

        fetched = make_fetcher(hosts=()).fetch(uri, target, max_bytes=10, timeout_seconds=1)

        assert (target.read_bytes(), fetched.size, fetched.head) == (b"hi", 2, b"hi")

    @pytest.mark.parametrize(
        ("status", "reason"),
        [
            (404, "not_found"),
            (410, "not_found"),
            (403, "denied"),
            (401, "denied"),
            (400, "bad_response"),
            (304, "bad_response"),
        ],
    )
    def test_fetch_raises_permanent_error_for_status(self, tmp_path: Path, status: int, reason: str) -> None:
        body = b"x" if status != 304 else b""
        with (
            serve_http(lambda handler: send_response(handler, body, status=status)) as server,
            pytest.raises(PermanentFetchError) as caught,
        ):
            make_fetcher().fetch(server.url("/"), tmp_path / "file", max_bytes=10, timeout_seconds=5)

        assert caught.value.reason == reason
        assert not (tmp_path / "file").exists()

    @pytest.mark.parametrize(
        ("status", "content_range"),
        [(202, ""), (204, ""), (206, ""), (206, "bytes 0-0/2"), (206, "bytes 1-1/2"), (206, "bytes 0-0/*")],
    )
    def test_fetch_can_be_retried_when_response_is_incomplete(
        self, tmp_path: Path, status: int, content_range: str
    ) -> None:
        def respond(handler: BaseHTTPRequestHandler) -> None:
            body = b"x" if status != 204 else b""
            send_response(handler, body, status=status, Content_Range=content_range)

        with serve_http(respond) as server, pytest.raises(TransientFetchError) as caught:
            make_fetcher().fetch(server.url("/"), tmp_path / "file", max_bytes=10, timeout_seconds=5)

        assert caught.value.reason == "incomplete"

    @pytest.mark.parametrize(("status", "content_range"), [(203, ""), (206, "bytes 0-1/2")])
    def test_fetch_accepts_complete_response_of_other_status(
        self, tmp_path: Path, status: int, content_range: str
    ) -> None:
        def respond(handler: BaseHTTPRequestHandler) -> None:
            send_response(handler, b"hi", status=status, Content_Range=content_range)

        with serve_http(respond) as server:
            make_fetcher().fetch(server.url("/"), tmp_path / "file", max_bytes=10, timeout_seconds=5)

        assert (tmp_path / "file").read_bytes() == b"hi"

    @pytest.mark.parametrize(
        ("encoding", "body", "stored", "is_encoded"),
        [
            ("gzip", gzip.compress(b"hi", mtime=0), b"hi", False),
            ("deflate", zlib.compress(b"hi"), b"hi", False),
            ("utf-8", b"hi", b"hi", False),
            ("aws-chunked", b"hi", b"hi", False),
            ("gzip", b"hi", b"hi", False),
            ("br", b"\x0b\x00\x80hi\x03", b"\x0b\x00\x80hi\x03", True),
        ],
    )
    def test_content_encoding_is_decoded_or_stored_as_sent(
        self, tmp_path: Path, encoding: str, body: bytes, stored: bytes, is_encoded: bool
    ) -> None:
        with serve_http(lambda handler: send_response(handler, body, Content_Encoding=encoding)) as server:
            fetched = make_fetcher().fetch(
                server.url("/"), tmp_path / "file", max_bytes=100, timeout_seconds=5
            )

        assert (tmp_path / "file").read_bytes() == stored
        assert (fetched.size, fetched.is_encoded) == (len(stored), is_encoded)

    def test_decoded_size_is_bounded(self, tmp_path: Path) -> None:
        bomb = gzip.compress(b"x" * 5_000_000)
        with (
            serve_http(lambda handler: send_response(handler, bomb, Content_Encoding="gzip")) as server,
            pytest.raises(PermanentFetchError) as caught,
        ):
            make_fetcher().fetch(server.url("/"), tmp_path / "file", max_bytes=1_000_000, timeout_seconds=5)

        assert caught.value.reason == "too_large"

    @pytest.mark.parametrize("status", [500, 502, 503, 429, 408])
    def test_fetch_raises_transient_error_for_status(self, tmp_path: Path, status: int) -> None:
        with (
            serve_http(
                lambda handler: send_response(handler, b"x", status=status, Retry_After="7")
            ) as server,
            pytest.raises(TransientFetchError) as caught,
        ):
            make_fetcher().fetch(server.url("/"), tmp_path / "file", max_bytes=10, timeout_seconds=5)

        assert (caught.value.reason, caught.value.retry_after) == ("upstream_error", 7)

    def test_fetch_releases_disk_when_file_is_too_large(self, tmp_path: Path) -> None:
        def send_without_length(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(200)
            handler.end_headers()
            handler.wfile.write(BODY)

        fetcher = make_fetcher(disk_bytes=len(BODY))
        target = tmp_path / "file"
        with serve_http(send_without_length) as server:
            with pytest.raises(PermanentFetchError, match="too_large"):
                fetcher.fetch(server.url("/"), target, max_bytes=1000, timeout_seconds=5)
            assert not target.exists()
            fetched = fetcher.fetch(server.url("/"), target, max_bytes=len(BODY), timeout_seconds=5)
        assert fetched.size == len(BODY)

    def test_fetch_is_deferred_while_disk_is_full(self, tmp_path: Path) -> None:
        fetcher = make_fetcher(disk_bytes=len(BODY))
        first, second = tmp_path / "first", tmp_path / "second"
        with serve_http(lambda handler: send_response(handler, BODY)) as server:
            fetched = fetcher.fetch(server.url("/"), first, max_bytes=len(BODY), timeout_seconds=5)
            with pytest.raises(FetchDeferredError):
                fetcher.fetch(server.url("/"), second, max_bytes=len(BODY), timeout_seconds=5)
            fetcher.discard(first, fetched.size)
            fetched = fetcher.fetch(server.url("/"), second, max_bytes=len(BODY), timeout_seconds=5)
        assert fetched.size == len(BODY)

    def test_fetch_raises_permanent_error_when_file_exceeds_whole_disk(self, tmp_path: Path) -> None:
        fetcher = make_fetcher(disk_bytes=len(BODY) - 1)
        with (
            serve_http(lambda handler: send_response(handler, BODY)) as server,
            pytest.raises(PermanentFetchError, match="too_large"),
        ):
            fetcher.fetch(server.url("/"), tmp_path / "file", max_bytes=len(BODY), timeout_seconds=5)

    @pytest.mark.parametrize(
        "url",
        [
            "https://evil.example/a.png",
            "https://169.254.169.254/latest",
            "https://replicate.delivery.evil.com/",
            "http://10.0.0.1/",
        ],
    )
    def test_fetch_refuses_host_that_is_not_allowed(self, tmp_path: Path, url: str) -> None:
        fetcher = make_fetcher(hosts=("replicate.delivery", "*.replicate.delivery"))
        with pytest.raises(PermanentFetchError, match="address_not_allowed"):
            fetcher.fetch(url, tmp_path / "file", max_bytes=10, timeout_seconds=5)

    def test_fetch_refuses_redirect_to_host_that_is_not_allowed(self, tmp_path: Path) -> None:
        with (
            serve_http(
                lambda handler: send_response(handler, status=302, Location="http://127.0.0.2/")
            ) as server,
            pytest.raises(PermanentFetchError, match="address_not_allowed"),
        ):
            make_fetcher(max_redirects=3).fetch(
                server.url("/"), tmp_path / "file", max_bytes=10, timeout_seconds=5
            )

    @pytest.mark.parametrize("max_redirects", [0, 2])
    def test_fetch_raises_permanent_error_for_too_many_redirects(
        self, tmp_path: Path, max_redirects: int
    ) -> None:
        with (
            serve_http(lambda handler: send_response(handler, status=302, Location="/again")) as server,
            pytest.raises(PermanentFetchError, match="bad_response"),
        ):
            make_fetcher(max_redirects=max_redirects).fetch(
                server.url("/"), tmp_path / "file", max_bytes=10, timeout_seconds=5
            )

    def test_fetch_raises_transient_error_when_body_is_incomplete(self, tmp_path: Path) -> None:
        with (
            serve_http(lambda handler: send_response(handler, b"half", Content_Length="8")) as server,
            pytest.raises(TransientFetchError, match="unreachable"),
        ):
            make_fetcher().fetch(server.url("/"), tmp_path / "file", max_bytes=10, timeout_seconds=5)

        assert not (tmp_path / "file").exists()


def test_disk_budget_is_bounded_by_free_disk() -> None:
    budget = DiskBudget(10**12, free_bytes=65 * MEBIBYTE)

    budget.reserve(MEBIBYTE, already_reserved=0)
    with pytest.raises(FetchDeferredError):
        budget.reserve(1, already_reserved=0)


def test_file_is_deferred_when_disk_has_less_room_than_the_limit() -> None:
    budget = DiskBudget(MEBIBYTE, free_bytes=MEBIBYTE)

    with pytest.raises(FetchDeferredError):
        budget.reserve(8, already_reserved=0)
    with pytest.raises(PermanentFetchError, match="too_large"):
        budget.reserve(1, already_reserved=MEBIBYTE)


@pytest.mark.enable_socket
def test_copy_takes_disk_until_it_is_discarded(tmp_path: Path) -> None:
    fetcher, uri = make_fetcher(disk_bytes=10), "data:text/plain,abcd"
    fetcher.fetch(uri, tmp_path / "source", max_bytes=10, timeout_seconds=1)
    fetcher.reserve_copy(4)
    with pytest.raises(FetchDeferredError):
        fetcher.fetch(uri, tmp_path / "other", max_bytes=10, timeout_seconds=1)

    fetcher.discard(tmp_path / "copy", 4)

    fetcher.fetch(uri, tmp_path / "other", max_bytes=10, timeout_seconds=1)
    with pytest.raises(PermanentFetchError, match="too_large"):
        fetcher.reserve_copy(6)


class TestHostAllowlist:
    @pytest.mark.parametrize(
        "host", ["replicate.delivery", "pbxt.replicate.delivery", "A.B.Replicate.Delivery."]
    )
    def test_default_allows_replicate_hosts(self, host: str) -> None:
        assert HostAllowlist()(host)

    @pytest.mark.parametrize(
        "host",
        [
            "evilreplicate.delivery",
            "replicate.delivery.evil.com",
            "delivery",
            "",
            "replicate-delivery.com",
            "127.0.0.1",
        ],
    )
    def test_default_allows_no_other_host(self, host: str) -> None:
        assert not HostAllowlist()(host)

    def test_star_allows_all_hosts_and_star_pattern_only_subdomains(self) -> None:
        assert HostAllowlist(["*"])("storage.googleapis.com")
        assert HostAllowlist(["*.example.com"])("a.example.com")
        assert not HostAllowlist(["*.example.com"])("example.com")
        assert not HostAllowlist([" ", ""])("example.com")


class TestDataUri:
    @given(st.binary(max_size=200))
    def test_base64_is_decoded_with_and_without_padding(self, content: bytes) -> None:
        uri = "data:image/png;base64," + base64.b64encode(content).decode()
        assert decode_data_uri(uri, max_bytes=200) == content
        assert decode_data_uri(uri.rstrip("="), max_bytes=200) == content

    def test_percent_encoding_and_url_safe_base64_are_decoded(self) -> None:
        assert decode_data_uri("data:text/plain,a%20b%00", max_bytes=10) == b"a b\0"
        assert decode_data_uri("data:;base64,_-8%3D", max_bytes=10) == b"\xff\xef"

    @pytest.mark.parametrize("uri", ["data:image/png;base64,***", "data:nothing", "data:;base64,A"])
    def test_invalid_uri_raises_permanent_error(self, uri: str) -> None:
        with pytest.raises(PermanentFetchError, match="bad_data_uri"):
            decode_data_uri(uri, max_bytes=100)

    @pytest.mark.parametrize("uri", ["data:," + "a" * 11, "data:;base64," + "A" * 100])
    def test_content_over_limit_raises_permanent_error(self, uri: str) -> None:
        with pytest.raises(PermanentFetchError, match="too_large"):
            decode_data_uri(uri, max_bytes=10)

    @given(st.text(max_size=60))
    def test_arbitrary_text_is_decoded_or_raises_permanent_error(self, text: str) -> None:
        for uri in (f"data:{text}", f"data:;base64,{text}"):
            try:
                decode_data_uri(uri, max_bytes=1000)
            except PermanentFetchError:
                continue


@given(
    st.text(max_size=60),
    st.sampled_from(["", "https://", "https://a.example/", "https://a.example:", "data:"]),
)
def test_fetch_raises_only_its_own_errors_for_any_text(text: str, start: str) -> None:
    def resolve(host: str, port: int) -> list[str]:
        assert host.isascii()
        raise UnreachableError("no network")

    session = GuardedSession(AddressPolicy(), resolver=resolve)
    fetcher = HttpFileFetcher(session, disk_budget=DiskBudget(1000))
    with tempfile.TemporaryDirectory() as folder, suppress(PermanentFetchError, TransientFetchError):
        fetcher.fetch(start + text, Path(folder) / "file", max_bytes=1000, timeout_seconds=5)
