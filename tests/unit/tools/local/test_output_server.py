"""The output server in front of a small server that takes the place of the emulated distribution."""

import json
from collections.abc import Iterator

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
    distribution = {"endpoint": distribution_url, "host": HOST}
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
