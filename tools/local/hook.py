"""A webhook address on loopback: whatever is posted to it goes to one function, which says the status."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler

from tools.local.loopback import Quiet, serving

type Take = Callable[[Mapping[str, str], bytes], int]
"""Takes header names in lower case and the body's bytes, gives the HTTP status. Called by many threads."""


@contextmanager
def listening(take: Take, *, port: int = 0) -> Iterator[str]:
    """The origin while the block runs; on a free port where none is named."""

    class Handler(Quiet, BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            self.send_response(take({name.lower(): value for name, value in self.headers.items()}, body))
            self.end_headers()

    with serving(Handler, port=port) as origin:
        yield origin
