"""The machine's end of the relays: a Unix socket that forwards connections to chosen ports of loopback."""

import os
import socket
import socketserver
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from tools.local.invoke.container import join_streams
from tools.local.loopback import LOOPBACK

_MAX_PORT_DIGITS = 5
_READ_TIMEOUT_SECONDS = 10.0


class _RelayServer(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    request_queue_size = 128


@contextmanager
def serve_relay(socket_file: Path, ports: Collection[int]) -> Iterator[None]:
    """Forward connections while the block runs. Each begins with a line that names one of the ports."""

    class Forwarder(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            connection: socket.socket = self.request
            port = _read_port(connection)
            if port in ports:
                with socket.create_connection((LOOPBACK, port)) as server:
                    join_streams(connection, server)

    socket_file.unlink(missing_ok=True)
    folder = os.open(socket_file.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        # The address of a socket has at most 107 characters (unix(7)); the path of a project may have more.
        with _RelayServer(f"/proc/self/fd/{folder}/{socket_file.name}", Forwarder) as server:
            socket_file.chmod(0o666)  # The container may run as another user.
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
            thread.start()
            try:
                yield
            finally:
                server.shutdown()
                thread.join()
    finally:
        os.close(folder)
        socket_file.unlink(missing_ok=True)


def _read_port(connection: socket.socket) -> int | None:
    """Return the port of the first line, or None if the line is not a number."""
    connection.settimeout(_READ_TIMEOUT_SECONDS)
    line = b""
    try:
        while len(line) <= _MAX_PORT_DIGITS and (byte := connection.recv(1)) != b"\n":
            if not byte:
                return None
            line += byte
    except OSError:
        return None
    return int(line) if line.isdigit() else None
