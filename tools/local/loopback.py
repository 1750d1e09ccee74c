"""Small HTTP servers on loopback, in threads of the program that needs them.

A webhook address on loopback: whatever is posted to it goes to one function, which says the status.
"""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tools.local.servers import LOOPBACK


class SilentHandler:
    """Of a handler that prints nothing of each request: who takes it knows what to say of it."""

    def log_message(self, *_: object) -> None:
        """Quiet."""


class _Server(ThreadingHTTPServer):
    # Of five callers at once, the usual, others would wait seconds for their next try.
    request_queue_size = 128


@contextmanager
def serve_http(handler: type[BaseHTTPRequestHandler], *, port: int = 0) -> Iterator[str]:
    """The origin, `http://127.0.0.1:<port>`, while the block runs; on a free port where none is named."""
    server = _Server((LOOPBACK, port), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://{LOOPBACK}:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


type WebhookHandler = Callable[[Mapping[str, str], bytes], int]
"""Takes header names in lower case and the body's bytes, gives the HTTP status. Called by many threads."""


@contextmanager
def receive_webhooks(handle: WebhookHandler, *, port: int = 0) -> Iterator[str]:
    """The origin while the block runs; on a free port where none is named."""

    class Handler(SilentHandler, BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            self.send_response(handle({name.lower(): value for name, value in self.headers.items()}, body))
            self.end_headers()

    with serve_http(Handler, port=port) as origin:
        yield origin
