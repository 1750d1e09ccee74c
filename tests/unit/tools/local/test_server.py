import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tools.local import paths, servers
from tools.local.errors import LocalError
from tools.local.paths import StackFolder
from tools.local.servers import Server

SERVE = ("-m", "http.server", "--bind", servers.LOOPBACK)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(paths, "LOCAL_FOLDER", tmp_path)
    made = StackFolder("unit")
    made.create()
    one = Server(
        made, "files", lambda port: [sys.executable, *SERVE, str(port)], lambda _: {}, probe_path="/"
    )
    yield one
    one.stop()


def test_it_answers_once_started_and_starts_only_once(server: Server) -> None:
    address = server.start()
    first = server.daemon.generation

    assert server.start() == address == server.url
    assert server.daemon.generation == first


def test_it_comes_back_at_the_same_address(server: Server) -> None:
    address = server.start()
    server.stop()
    assert server.url is None

    assert server.start() == address


def test_a_taken_port_is_left_to_its_owner(server: Server) -> None:
    address = server.start()
    server.stop()
    with socket.create_server((servers.LOOPBACK, int(address.rpartition(":")[2]))):
        assert server.start() != address


def test_a_program_that_ends_at_once_is_told_with_its_log(server: Server) -> None:
    broken = Server(
        server.folder, "broken", lambda _: [sys.executable, "-c", "1/0"], lambda _: {}, probe_path="/"
    )

    with pytest.raises(LocalError, match=r"broken\.log.*it ended"):
        broken.start()
    assert "ZeroDivisionError" in broken.daemon.read_log_tail()
