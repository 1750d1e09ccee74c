"""The output server in front of a small server that takes the place of the emulated distribution."""

import json
import threading
from collections.abc import Iterator
from typing import ClassVar

import pytest
import requests

from tools.local.loopback import SilentHandler, serve_http
from tools.local.paths import StackFolder
from tools.local.servers import get_output_server

HOST = "d123.cloudfront.localhost"


class _Distribution(SilentHandler):
    """Serves one key, and only for requests to the right host, over TLS and without credentials."""

    def do_GET(self) -> None:  # noqa: N802 - http.server's name
        is_distribution = self.headers["host"] == HOST and self.headers["x-forwarded-proto"] == "https"
        is_found = is_distribution and "authorization" not in self.headers and self.path == "/outputs/a.webp"
        body = b"0123456789" if is_found else b"no"
        self.send_response(206 if is_found and "range" in self.headers else 200 if is_found else 403)
        self.send_header("content-type", "image/webp")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if self.command == "GET" else b"")

    do_HEAD = do_GET  # noqa: N815 - http.server's name


@pytest.fixture
def distribution_url() -> Iterator[str]:
    with serve_http(_Distribution) as origin:
        yield origin


@pytest.fixture
def empty_server_url(stack_folder: StackFolder) -> Iterator[str]:
    """The address of the output server before the first deployment."""
    server = get_output_server(stack_folder)
    yield server.start()
    server.stop()


@pytest.fixture
def server_url(empty_server_url: str, stack_folder: StackFolder, distribution_url: str) -> str:
    """The address of the output server after the deployment."""
    distribution = {
        "endpoint": distribution_url,
        "host": HOST,
        "behaviors": [{"pattern": "*", "public_keys": {}}],
    }
    stack_folder.distribution_file.write_text(json.dumps(distribution), encoding="utf-8")
    return empty_server_url


def test_server_ignores_credentials_of_clients(server_url: str) -> None:
    response = requests.get(
        f"{server_url}/outputs/a.webp", headers={"authorization": "Bearer rp_key"}, timeout=5
    )

    assert (response.status_code, response.content) == (200, b"0123456789")
    assert response.headers["content-type"] == "image/webp"


def test_server_forwards_ranges_and_head_requests(server_url: str) -> None:
    part = requests.get(f"{server_url}/outputs/a.webp", headers={"range": "bytes=0-9"}, timeout=5)
    head = requests.head(f"{server_url}/outputs/a.webp", timeout=5)

    assert part.status_code == 206
    assert (head.status_code, head.headers["content-length"], head.content) == (200, "10", b"")


def test_server_rejects_what_the_distribution_rejects(server_url: str) -> None:
    assert requests.get(f"{server_url}/inputs/secret", timeout=5).status_code == 403
    assert requests.put(f"{server_url}/outputs/a.webp", data=b"mine", timeout=5).status_code == 405


def test_server_is_unavailable_before_the_first_deployment(empty_server_url: str) -> None:
    assert requests.get(f"{empty_server_url}/outputs/a.webp", timeout=5).status_code == 503


class _Origin(SilentHandler):
    """Answers by its path, and repeats what it got; `/v1/streams/slow` sends its end only when told to."""

    protocol_version = "HTTP/1.1"
    seen: ClassVar[list[dict[str, str]]] = []
    may_end = threading.Event()

    def do_GET(self) -> None:  # noqa: N802 - http.server's name
        _Origin.seen.append({name.lower(): value for name, value in self.headers.items()})
        path = self.path.partition("?")[0]
        self.send_response({"/v1/streams/gone": 404, "/v1/streams/teapot": 418}.get(path, 200))
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        self._send(self.path)
        if path == "/v1/streams/slow":
            self.may_end.wait(5)
            self._send(" end")
        self._send("")

    def _send(self, text: str) -> None:
        self.wfile.write(f"{len(text):x}\r\n{text}\r\n".encode())
        self.wfile.flush()


@pytest.fixture
def stream_server_url(empty_server_url: str, stack_folder: StackFolder) -> Iterator[str]:
    """The address of the output server, which relays streams from an origin, or from its copy."""
    _Origin.seen.clear()
    _Origin.may_end.clear()
    with serve_http(_Origin) as origin:
        behavior = {
            "pattern": "/v1/*",
            "origins": [origin, f"{origin}/stored"],
            "failover": [403, 404],
            "headers": ["accept", "last-event-id"],
            "forwards_query": True,
            "timeout": 5,
        }
        distribution = {"endpoint": "http://127.0.0.1:9", "host": HOST, "behaviors": [behavior]}
        stack_folder.distribution_file.write_text(json.dumps(distribution), encoding="utf-8")
        yield empty_server_url


def test_server_forwards_only_what_the_policy_of_streams_names(stream_server_url: str) -> None:
    headers = {"Authorization": "Bearer rp_key", "Cookie": "a=b", "X-Other": "c", "Last-Event-ID": "1:0"}

    response = requests.get(f"{stream_server_url}/v1/streams/a?signature=s", headers=headers, timeout=5)

    assert response.text == "/v1/streams/a?signature=s"
    assert set(_Origin.seen[0]) == {
        *("host", "accept", "accept-encoding", "connection", "last-event-id", "user-agent")
    }


def test_server_fails_over_by_status_like_an_origin_group(stream_server_url: str) -> None:
    gone = requests.get(f"{stream_server_url}/v1/streams/gone?a=b", timeout=5)
    teapot = requests.get(f"{stream_server_url}/v1/streams/teapot", timeout=5)

    assert (gone.status_code, gone.text) == (200, "/stored/v1/streams/gone?a=b")
    assert teapot.status_code == 418


def test_server_passes_each_part_of_a_stream_on_as_it_comes(stream_server_url: str) -> None:
    with requests.get(f"{stream_server_url}/v1/streams/slow", stream=True, timeout=5) as response:
        parts = response.iter_content(None)
        first = next(parts)
        _Origin.may_end.set()

        assert (first, b"".join(parts)) == (b"/v1/streams/slow", b" end")
