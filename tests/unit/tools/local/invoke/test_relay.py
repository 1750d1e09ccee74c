"""Both ends of the relays, in one process: the container's loopback is a second address of this machine's."""

import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
import pytest_socket
import requests

from tools.local.invoke import container
from tools.local.invoke.container import RealAwsError, open_relays, refuse_real_aws
from tools.local.invoke.relay import serve_relay
from tools.local.loopback import SilentHandler, serve_http

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="the relay's socket is for Linux engines only"
)

CONTAINER_LOOPBACK = "127.0.0.2"
LARGE_BODY = bytes(range(256)) * 4096


class _Server(SilentHandler):
    """Returns its own port, and echoes bodies."""

    def do_GET(self) -> None:  # noqa: N802 - the name of the standard library
        self._respond(str(self.connection.getsockname()[1]).encode())

    def do_POST(self) -> None:  # noqa: N802 - the name of the standard library
        self._respond(self.rfile.read(int(self.headers["content-length"])))

    def _respond(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture(autouse=True)
def container_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest_socket.socket_allow_hosts(["127.0.0.1", CONTAINER_LOOPBACK], allow_unix_socket=True)
    monkeypatch.setattr(container, "_LOOPBACK", CONTAINER_LOOPBACK)


@pytest.fixture
def ports() -> Iterator[list[int]]:
    """The ports of two servers of the machine."""
    handler: type[BaseHTTPRequestHandler] = _Server
    with serve_http(handler) as first, serve_http(handler) as second:
        yield [int(origin.rpartition(":")[2]) for origin in (first, second)]


@pytest.fixture
def cleanup() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def start_relays(cleanup: ExitStack, target: str, ports: list[int]) -> None:
    for listener in open_relays(target, ports):
        cleanup.callback(listener.close)


def test_unix_relay_forwards_each_port_to_the_same_port_of_the_machine(
    ports: list[int], tmp_path: Path, cleanup: ExitStack
) -> None:
    cleanup.enter_context(serve_relay(tmp_path / "relay.sock", ports))
    start_relays(cleanup, f"unix:{tmp_path}/relay.sock", ports)

    for port in ports:
        response = requests.get(f"http://{CONTAINER_LOOPBACK}:{port}/", timeout=10)
        assert response.text == str(port)
    echo = requests.post(f"http://{CONTAINER_LOOPBACK}:{ports[0]}/", data=LARGE_BODY, timeout=10)
    assert echo.content == LARGE_BODY


def test_socket_may_have_a_long_path(ports: list[int], tmp_path: Path, cleanup: ExitStack) -> None:
    folder = tmp_path / ("long-" * 30)
    folder.mkdir()
    cleanup.enter_context(serve_relay(folder / "relay.sock", ports))
    (tmp_path / "mounted").symlink_to(folder)
    start_relays(cleanup, f"unix:{tmp_path}/mounted/relay.sock", ports)

    assert requests.get(f"http://{CONTAINER_LOOPBACK}:{ports[0]}/", timeout=10).text == str(ports[0])


def test_unix_relay_refuses_ports_that_are_not_the_stacks(
    ports: list[int], tmp_path: Path, cleanup: ExitStack
) -> None:
    cleanup.enter_context(serve_relay(tmp_path / "relay.sock", ports[:1]))
    start_relays(cleanup, f"unix:{tmp_path}/relay.sock", ports)

    with pytest.raises(requests.ConnectionError):
        requests.get(f"http://{CONTAINER_LOOPBACK}:{ports[1]}/", timeout=10)


def test_tcp_relay_forwards_to_the_named_host(ports: list[int], cleanup: ExitStack) -> None:
    start_relays(cleanup, "tcp:127.0.0.1", ports)

    assert requests.get(f"http://{CONTAINER_LOOPBACK}:{ports[1]}/", timeout=10).text == str(ports[1])


def test_missing_machine_closes_the_connection_and_says_why(
    tmp_path: Path, cleanup: ExitStack, capfd: pytest.CaptureFixture[str], ports: list[int]
) -> None:
    start_relays(cleanup, f"unix:{tmp_path}/none.sock", ports)

    with socket.create_connection((CONTAINER_LOOPBACK, ports[0]), timeout=10) as connection:
        assert connection.recv(1) == b""
    assert f"cannot reach port {ports[0]} of the local stack" in capfd.readouterr().err


@pytest.mark.parametrize(
    "host", ["dynamodb.us-east-1.amazonaws.com", "S3.AMAZONAWS.COM.", b"sqs.cn-north-1.amazonaws.com.cn"]
)
def test_name_of_aws_is_not_resolved(host: str | bytes) -> None:
    with pytest.raises(RealAwsError, match="must not reach real AWS"):
        refuse_real_aws("socket.getaddrinfo", (host, 443, 0, 0, 0))


def test_credentials_of_an_instance_are_not_fetched() -> None:
    with pytest.raises(RealAwsError):
        refuse_real_aws("socket.connect", (None, ("169.254.169.254", 80)))


@pytest.mark.parametrize(
    ("event", "arguments"),
    [
        ("socket.getaddrinfo", ("127.0.0.1", 4566, 0, 0, 0)),
        ("socket.getaddrinfo", ("api.replicate.com", 443, 0, 0, 0)),
        ("socket.getaddrinfo", ("amazonaws.com.example", 443, 0, 0, 0)),
        ("socket.connect", (None, "/var/task/relay.sock")),
        ("open", ("amazonaws.com", "r", 0)),
    ],
)
def test_other_addresses_are_allowed(event: str, arguments: tuple[object, ...]) -> None:
    refuse_real_aws(event, arguments)
