"""A real server on loopback that follows a script for each connection, to simulate network failures."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from replicate_proxy.jobs.model import Submission, SubmissionKind

if TYPE_CHECKING:
    import ssl

Script = Callable[["Connection"], None]

SUBMISSION = Submission(SubmissionKind.VERSION, version="replicate/hello-pipeline")
PREDICTION: dict[str, Any] = {
    "id": "gm3qorzdhgbfurvjtvhg6dckhu",
    "model": "replicate/hello-pipeline",
    "version": "5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa",
    "status": "starting",
    "input": {"text": "Alice"},
    "output": None,
    "error": None,
    "logs": "",
    "created_at": "2026-01-31T09:30:00.064900134Z",
    "urls": {"get": "https://api.replicate.com/v1/predictions/gm3qorzdhgbfurvjtvhg6dckhu"},
}


@dataclass
class ScriptedServer:
    """Follows one script per connection, in order. Further connections are reset."""

    scripts: list[Script]
    tls_context: ssl.SSLContext | None = None
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0

    def __post_init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept_connections, daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        port: int = self._listener.getsockname()[1]
        return port

    @property
    def url(self) -> str:
        return f"{'https' if self.tls_context else 'http'}://127.0.0.1:{self.port}"

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in self._sockets:
            with suppress(OSError):
                sock.close()
        self._thread.join(timeout=5)

    def _accept_connections(self) -> None:
        with suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                self.connections += 1
                self._sockets.append(sock)
                script = self.scripts.pop(0) if self.scripts else Connection.reset
                threading.Thread(target=self._run_script, args=(sock, script), daemon=True).start()

    def _run_script(self, sock: socket.socket, script: Script) -> None:
        with suppress(OSError):
            if self.tls_context:
                sock = self.tls_context.wrap_socket(sock, server_side=True)
                self._sockets.append(sock)
            script(Connection(sock, self.requests))
        with suppress(OSError):
            sock.close()


@dataclass
class Connection:
    """The server's end of one connection."""

    sock: socket.socket
    requests: list[bytes]

    def read_request(self) -> bytes:
        """Read one whole request and append it to `requests`."""
        received = b""
        while b"\r\n\r\n" not in received:
            received += self._receive()
        head, _, body = received.partition(b"\r\n\r\n")
        content_length = next(
            (
                int(line.split(b":")[1])
                for line in head.split(b"\r\n")
                if line.lower().startswith(b"content-length")
            ),
            0,
        )
        while len(body) < content_length:
            body += self._receive()
        request = head + b"\r\n\r\n" + body
        self.requests.append(request)
        return request

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def reset(self) -> None:
        """Close with RST instead of FIN."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def wait_for_client_to_close(self) -> None:
        with suppress(OSError):
            while self.sock.recv(65536):
                pass

    def _receive(self) -> bytes:
        data = self.sock.recv(65536)
        if not data:
            raise ConnectionError("the client has closed the connection")
        return data


def respond_with(
    status: int, body: bytes | dict[str, Any], *headers: str, content_type: str = "application/json"
) -> Script:
    """Return a script that sends one response and closes the connection.

    The response announces the closing. Otherwise a client could reuse the connection for its next attempt
    just before it is closed.
    """

    def script(connection: Connection) -> None:
        connection.read_request()
        response = build_http_response(status, body, "Connection: close", *headers, content_type=content_type)
        connection.send(response)

    return script


def build_http_response(
    status: int, body: bytes | dict[str, Any], *headers: str, content_type: str = "application/json"
) -> bytes:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [
        f"HTTP/1.1 {status} X",
        f"Content-Type: {content_type}",
        f"Content-Length: {len(content)}",
        *headers,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content
