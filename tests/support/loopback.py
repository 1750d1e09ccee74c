"""Small servers on 127.0.0.1 for tests whose point is a real connection, and certificates for them."""

from __future__ import annotations

import contextlib
import datetime as dt
import ssl
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

type Respond = Callable[[BaseHTTPRequestHandler], None]


@dataclass
class LoopbackServer:
    """A running server: its port, and the requests it saw as (method, path, headers)."""

    port: int
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)

    def url(self, path: str, *, scheme: str = "http", host: str = "127.0.0.1") -> str:
        return f"{scheme}://{host}:{self.port}{path}"


def send_response(
    handler: BaseHTTPRequestHandler, body: bytes = b"", *, status: int = 200, **headers: str
) -> None:
    """A whole answer with Content-Length; underscores in header names stand for hyphens."""
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    if "Content_Length" not in headers:
        handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    with contextlib.suppress(OSError):
        handler.wfile.write(body)


def discard(_: object) -> None:
    """For handlers that answer nothing."""


@contextlib.contextmanager
def serve_http(answer: Respond, *, tls: ssl.SSLContext | None = None) -> Iterator[LoopbackServer]:
    """Answers every GET and POST by `answer` until the block ends."""
    served: list[LoopbackServer] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served[0].requests.append((self.command, self.path, dict(self.headers)))
            answer(self)

        do_POST = do_GET  # noqa: N815 - http.server's naming

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's signature
            """Quiet."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            """Clients that hang up, or do not trust us, are what some tests are about."""

    server = Server(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    served.append(LoopbackServer(server.server_port))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield served[0]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass(frozen=True)
class TlsContexts:
    """TLS contexts for a server that is `host` and for a client that trusts only this authority."""

    server: ssl.SSLContext
    client: ssl.SSLContext


def create_tls_contexts(host: str, folder: Path) -> TlsContexts:
    """A self-signed certificate for `host`, its files in `folder`."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = folder / "server.pem"
    pem.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pem)
    return TlsContexts(server, ssl.create_default_context(cafile=str(pem)))
