"""The output front before a small server that stands for the emulated distribution."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
import requests

from tools.local import paths, servers
from tools.local.loopback import SilentHandler, serve_http
from tools.local.paths import StackFolder

HOST = "d123.cloudfront.localhost"


class _Distribution(SilentHandler, BaseHTTPRequestHandler):
    """Serves one key, and only as CloudFront would be asked: right host, over TLS, without credentials."""

    def do_GET(self) -> None:
        right = self.headers["host"] == HOST and self.headers["x-forwarded-proto"] == "https"
        found = right and "authorization" not in self.headers and self.path == "/outputs/a.webp"
        body = b"0123456789" if found else b"no"
        self.send_response(206 if found and "range" in self.headers else 200 if found else 403)
        self.send_header("content-type", "image/webp")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if self.command == "GET" else b"")

    do_HEAD = do_GET  # noqa: N815 - http.server's name


@pytest.fixture
def distribution() -> Iterator[str]:
    with serve_http(_Distribution) as origin:
        yield origin


@pytest.fixture
def stack_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StackFolder:
    monkeypatch.setattr(paths, "LOCAL_FOLDER", tmp_path)
    made = StackFolder("unit")
    made.create()
    return made


@pytest.fixture
def front(stack_home: StackFolder) -> Iterator[str]:
    server = servers.get_output_server(stack_home)
    yield server.start()
    server.stop()


@pytest.fixture
def deployed(front: str, stack_home: StackFolder, distribution: str) -> str:
    origin = {"endpoint": distribution, "host": HOST}
    stack_home.distribution_file.write_text(json.dumps(origin), encoding="utf-8")
    return front


def test_a_clients_credentials_do_no_harm(deployed: str) -> None:
    answer = requests.get(f"{deployed}/outputs/a.webp", headers={"authorization": "Bearer rp_key"}, timeout=5)

    assert (answer.status_code, answer.content) == (200, b"0123456789")
    assert answer.headers["content-type"] == "image/webp"


def test_ranges_and_heads_pass_through(deployed: str) -> None:
    part = requests.get(f"{deployed}/outputs/a.webp", headers={"range": "bytes=0-9"}, timeout=5)
    head = requests.head(f"{deployed}/outputs/a.webp", timeout=5)

    assert part.status_code == 206
    assert (head.status_code, head.headers["content-length"], head.content) == (200, "10", b"")


def test_what_the_distribution_refuses_is_refused(deployed: str) -> None:
    assert requests.get(f"{deployed}/inputs/secret", timeout=5).status_code == 403
    assert requests.put(f"{deployed}/outputs/a.webp", data=b"mine", timeout=5).status_code == 405


def test_before_the_first_deployment_it_says_so(front: str) -> None:
    assert requests.get(f"{front}/outputs/a.webp", timeout=5).status_code == 503
