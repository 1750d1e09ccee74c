"""Files from a real server on this machine to the disk."""

from __future__ import annotations

import hashlib
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from replicate_proxy.net.addresses import AddressPolicy
from replicate_proxy.net.session import GuardedSession
from replicate_proxy.outputs.fetch import (
    DiskBudget,
    FileDeferredError,
    FileUnavailableError,
    FileUnobtainableError,
    HostAllowlist,
    HttpFileFetcher,
)
from tests.support.loopback import send_response, serve_http

pytestmark = pytest.mark.enable_socket

BODY = bytes(range(256)) * 4096


def fetcher(
    *, hosts: tuple[str, ...] = ("127.0.0.1",), budget: int = 10_000_000, redirects: int = 0
) -> HttpFileFetcher:
    session = GuardedSession(
        AddressPolicy(allow_loopback=True),
        is_allowed_host=HostAllowlist(hosts),
        max_redirects=redirects,
        read_timeout_seconds=2,
    )
    return HttpFileFetcher(session, budget=DiskBudget(budget))


def test_a_file_is_counted_and_hashed_on_its_way_to_disk(tmp_path: Path) -> None:
    target = tmp_path / "file"
    with serve_http(lambda handler: send_response(handler, BODY)) as server:
        fetched = fetcher().fetch(server.url("/a.bin"), target, max_bytes=len(BODY), timeout_seconds=10)

    assert target.read_bytes() == BODY
    assert (fetched.size, fetched.sha256) == (len(BODY), hashlib.sha256(BODY).hexdigest())
    assert fetched.head == BODY[:4096]


def test_a_data_uri_needs_no_server(tmp_path: Path) -> None:
    target = tmp_path / "file"

    fetched = fetcher(hosts=()).fetch("data:text/plain;base64,aGk=", target, max_bytes=10, timeout_seconds=1)

    assert (target.read_bytes(), fetched.size, fetched.head) == (b"hi", 2, b"hi")


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (404, "not_found"),
        (410, "not_found"),
        (403, "denied"),
        (401, "denied"),
        (204, "bad_response"),
        (206, "bad_response"),
        (400, "bad_response"),
    ],
)
def test_answers_that_will_not_change(tmp_path: Path, status: int, reason: str) -> None:
    with (
        serve_http(
            lambda handler: send_response(handler, b"x" if status != 204 else b"", status=status)
        ) as server,
        pytest.raises(FileUnobtainableError) as caught,
    ):
        fetcher().fetch(server.url("/"), tmp_path / "file", max_bytes=10, timeout_seconds=5)

    assert caught.value.reason == reason
    assert not (tmp_path / "file").exists()


@pytest.mark.parametrize("status", [500, 502, 503, 429, 408])
def test_answers_that_may_pass(tmp_path: Path, status: int) -> None:
    with (
        serve_http(lambda handler: send_response(handler, b"x", status=status, Retry_After="7")) as server,
        pytest.raises(FileUnavailableError) as caught,
    ):
        fetcher().fetch(server.url("/"), tmp_path / "file", max_bytes=10, timeout_seconds=5)

    assert (caught.value.reason, caught.value.retry_after) == ("upstream_error", 7)


def test_a_file_over_the_cap_is_left_and_its_disk_given_back(tmp_path: Path) -> None:
    def endless(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(BODY)

    limited = fetcher(budget=len(BODY))
    with serve_http(endless) as server:
        with pytest.raises(FileUnobtainableError, match="too_large"):
            limited.fetch(server.url("/"), tmp_path / "file", max_bytes=1000, timeout_seconds=5)
        assert not (tmp_path / "file").exists()
        assert limited.fetch(
            server.url("/"), tmp_path / "file", max_bytes=len(BODY), timeout_seconds=5
        ).size == len(BODY)


def test_a_full_disk_puts_a_file_off_until_another_is_discarded(tmp_path: Path) -> None:
    small = fetcher(budget=len(BODY))
    with serve_http(lambda handler: send_response(handler, BODY)) as server:
        first = small.fetch(server.url("/"), tmp_path / "one", max_bytes=len(BODY), timeout_seconds=5)
        with pytest.raises(FileDeferredError):
            small.fetch(server.url("/"), tmp_path / "two", max_bytes=len(BODY), timeout_seconds=5)
        small.discard(tmp_path / "one", first.size)
        assert small.fetch(
            server.url("/"), tmp_path / "two", max_bytes=len(BODY), timeout_seconds=5
        ).size == len(BODY)


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/a.png",
        "https://169.254.169.254/latest",
        "https://replicate.delivery.evil.com/",
        "http://10.0.0.1/",
    ],
)
def test_hosts_off_the_list_are_not_called(tmp_path: Path, url: str) -> None:
    with pytest.raises(FileUnobtainableError, match="address_not_allowed"):
        fetcher(hosts=("replicate.delivery", "*.replicate.delivery")).fetch(
            url, tmp_path / "file", max_bytes=10, timeout_seconds=5
        )


def test_a_redirect_off_the_list_is_not_followed(tmp_path: Path) -> None:
    with (
        serve_http(
            lambda handler: send_response(handler, status=302, Location="http://127.0.0.2/")
        ) as server,
        pytest.raises(FileUnobtainableError, match="address_not_allowed"),
    ):
        fetcher(redirects=3).fetch(server.url("/"), tmp_path / "file", max_bytes=10, timeout_seconds=5)


@pytest.mark.parametrize("redirects", [0, 2])
def test_redirects_that_do_not_end_are_no_file(tmp_path: Path, redirects: int) -> None:
    with (
        serve_http(lambda handler: send_response(handler, status=302, Location="/again")) as server,
        pytest.raises(FileUnobtainableError, match="bad_response"),
    ):
        fetcher(redirects=redirects).fetch(
            server.url("/"), tmp_path / "file", max_bytes=10, timeout_seconds=5
        )


def test_a_body_cut_short_may_come_whole_next_time(tmp_path: Path) -> None:
    with (
        serve_http(lambda handler: send_response(handler, b"half", Content_Length="8")) as server,
        pytest.raises(FileUnavailableError, match="unreachable"),
    ):
        fetcher().fetch(server.url("/"), tmp_path / "file", max_bytes=10, timeout_seconds=5)

    assert not (tmp_path / "file").exists()


def test_a_file_that_would_not_even_fit_alone_is_left(tmp_path: Path) -> None:
    with (
        serve_http(lambda handler: send_response(handler, BODY)) as server,
        pytest.raises(FileUnobtainableError, match="too_large"),
    ):
        fetcher(budget=len(BODY) - 1).fetch(
            server.url("/"), tmp_path / "one", max_bytes=len(BODY), timeout_seconds=5
        )


def test_the_disk_there_is_counts_whatever_the_setting_says() -> None:
    small = DiskBudget(10**12, free=65 * 1024 * 1024)

    small.reserve(1024 * 1024, already_reserved=0)
    with pytest.raises(FileDeferredError):
        small.reserve(1, already_reserved=0)
