import socket
import sys
from collections.abc import Iterator

import pytest

from tools.local.errors import LocalError
from tools.local.loopback import LOOPBACK
from tools.local.paths import StackFolder
from tools.local.servers import Server

HTTP_SERVER = ("-m", "http.server", "--bind", LOOPBACK)


@pytest.fixture
def server(stack_folder: StackFolder) -> Iterator[Server]:
    server = Server(
        stack_folder,
        "files",
        build_command=lambda port: [sys.executable, *HTTP_SERVER, str(port)],
        build_environment=lambda _: {},
        probe_path="/",
    )
    yield server
    server.stop()


def test_started_server_responds_and_is_started_once(server: Server) -> None:
    url = server.start()
    generation = server.daemon.generation

    assert server.start() == url == server.url
    assert server.daemon.generation == generation


def test_restarted_server_has_the_same_address(server: Server) -> None:
    url = server.start()
    server.stop()
    assert server.url is None

    assert server.start() == url


def test_restarted_server_has_another_address_when_its_port_is_in_use(server: Server) -> None:
    url = server.start()
    server.stop()
    with socket.create_server((LOOPBACK, int(url.rpartition(":")[2]))):
        assert server.start() != url


def test_start_names_the_log_when_the_process_ends(server: Server) -> None:
    broken = Server(
        server.folder,
        "broken",
        build_command=lambda _: [sys.executable, "-c", "1/0"],
        build_environment=lambda _: {},
        probe_path="/",
    )

    with pytest.raises(LocalError, match=r"the process ended while waiting for .*broken\.log"):
        broken.start()
    assert "ZeroDivisionError" in broken.daemon.read_log_tail()
