"""A webhook address on loopback: whatever is posted to it goes to one function, which says the status."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from local.ports import LOOPBACK

type Take = Callable[[Mapping[str, str], bytes], int]
"""Takes header names in lower case and the body's bytes, gives the HTTP status. Called by many threads."""


class _Server(ThreadingHTTPServer):
    request_queue_size = (
        128  # of five callers at once, the usual, others would wait seconds for their next try
    )


@contextmanager
def listening(take: Take, *, port: int = 0) -> Iterator[str]:
    """The origin, `http://127.0.0.1:<port>`, while the block runs; on a free port where none is named."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            self.send_response(take({name.lower(): value for name, value in self.headers.items()}, body))
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Quiet: who takes the calls knows what to say of them."""

    server = _Server((LOOPBACK, port), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://{LOOPBACK}:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
