"""Small HTTP servers on loopback, in threads of the program that needs them."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tools.local.ports import LOOPBACK


class Quiet:
    """Of a handler that prints nothing of each request: who takes it knows what to say of it."""

    def log_message(self, *_: object) -> None:
        """Quiet."""


class _Server(ThreadingHTTPServer):
    # Of five callers at once, the usual, others would wait seconds for their next try.
    request_queue_size = 128


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler], *, port: int = 0) -> Iterator[str]:
    """The origin, `http://127.0.0.1:<port>`, while the block runs; on a free port where none is named."""
    server = _Server((LOOPBACK, port), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://{LOOPBACK}:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
