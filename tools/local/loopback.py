"""HTTP servers on loopback, in threads of the process that needs them."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tools.local.servers import LOOPBACK

type WebhookHandler = Callable[[Mapping[str, str], bytes], int]
"""Gets the headers, with names in lower case, and the body; returns the HTTP status. Must be thread-safe."""


class SilentHandler(BaseHTTPRequestHandler):
    """A request handler that does not log requests."""

    def log_message(self, *_: object) -> None:
        """Log nothing."""


class _Server(ThreadingHTTPServer):
    # With the default of 5, further simultaneous connections would wait seconds for the next attempt.
    request_queue_size = 128


@contextmanager
def serve_http(handler: type[BaseHTTPRequestHandler], *, port: int = 0) -> Iterator[str]:
    """Serve while the block runs, and yield the origin, `http://127.0.0.1:<port>`. 0 means any free port."""
    server = _Server((LOOPBACK, port), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://{LOOPBACK}:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


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
