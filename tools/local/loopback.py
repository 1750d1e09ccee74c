"""HTTP servers on loopback, in threads of the process that needs them."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator

LOOPBACK = "127.0.0.1"

type WebhookHandler = Callable[[Mapping[str, str], bytes], int]
"""Gets the headers, with names in lower case, and the body; returns the HTTP status. Must be thread-safe."""


class SilentHandler(BaseHTTPRequestHandler):
    """A request handler that does not log requests."""

    def log_message(self, *_: object) -> None:
        """Log nothing."""


class _Server(ThreadingHTTPServer):
    # With the default of 5, further simultaneous connections would wait seconds for the next attempt.
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print the error, except when a client disconnects or rejects the certificate."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


@contextmanager
def serve_http(
    handler: type[BaseHTTPRequestHandler], *, port: int = 0, tls_context: ssl.SSLContext | None = None
) -> Iterator[str]:
    """Serve while the block runs, and yield the origin, `http://127.0.0.1:<port>`.

    Port 0 means any free port. With a TLS context, the server speaks https.
    """
    server = _Server((LOOPBACK, port), handler)
    if tls_context is not None:
        server.socket = tls_context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"{'https' if tls_context else 'http'}://{LOOPBACK}:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def receive_webhooks(handle: WebhookHandler, *, port: int = 0) -> Iterator[str]:
    """Pass every POST request to `handle` while the block runs, and yield the origin."""

    class Handler(SilentHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            self.send_response(handle({name.lower(): value for name, value in self.headers.items()}, body))
            self.end_headers()

    with serve_http(Handler, port=port) as origin:
        yield origin
