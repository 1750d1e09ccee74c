"""HTTP servers on 127.0.0.1 for tests that need real connections, and TLS contexts for them."""

from __future__ import annotations

import contextlib
import datetime as dt
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tools.local import loopback
from tools.local.loopback import SilentHandler

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from http.server import BaseHTTPRequestHandler
    from pathlib import Path

type Respond = Callable[[BaseHTTPRequestHandler], None]


class ReceivedRequest(NamedTuple):
    method: str
    path: str
    headers: dict[str, str]


@dataclass
class LoopbackServer:
    """A running server."""

    port: int
    requests: list[ReceivedRequest] = field(default_factory=list)

    def url(self, path: str, *, scheme: str = "http", host: str = "127.0.0.1") -> str:
        return f"{scheme}://{host}:{self.port}{path}"


@contextlib.contextmanager
def serve_http(respond: Respond, *, tls_context: ssl.SSLContext | None = None) -> Iterator[LoopbackServer]:
    """Run a server that answers every GET and POST with `respond`."""
    received: list[ReceivedRequest] = []

    class Handler(SilentHandler):
        def do_GET(self) -> None:  # noqa: N802 - http.server's naming
            received.append(ReceivedRequest(self.command, self.path, dict(self.headers)))
            respond(self)

        do_POST = do_GET  # noqa: N815 - http.server's naming

    with loopback.serve_http(Handler, tls_context=tls_context) as origin:
        yield LoopbackServer(urlsplit(origin).port or 0, received)


def send_response(
    handler: BaseHTTPRequestHandler, body: bytes = b"", *, status: int = 200, **headers: str
) -> None:
    """Send a response with Content-Length. Underscores in header names stand for hyphens."""
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    if "Content_Length" not in headers:
        handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    with contextlib.suppress(OSError):
        handler.wfile.write(body)


def discard(_: object) -> None:
    """Drop a value, so that a lambda can be a `Respond`."""


@dataclass(frozen=True)
class TlsContexts:
    """The context of a server, and that of a client that trusts only this server's certificate."""

    server: ssl.SSLContext
    client: ssl.SSLContext


def create_tls_contexts(host: str, folder: Path) -> TlsContexts:
    """Create TLS contexts around a new self-signed certificate for `host`, stored in `folder`."""
    certificate = create_certificate(x509.DNSName(host), folder)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate)
    return TlsContexts(server, ssl.create_default_context(cafile=str(certificate)))


def create_certificate(host: x509.DNSName | x509.IPAddress, folder: Path) -> Path:
    """Create a PEM file with a self-signed certificate for `host` and its private key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, str(host.value))])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([host]), critical=False)
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
    return pem
