"""Every way in which the network can fail a create, on real sockets: certainly not accepted, or unknown."""

from __future__ import annotations

import datetime as dt
import gc
import ipaddress
import socket
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from replicate_proxy.replicate_api import response as response_module
from replicate_proxy.replicate_api.client import ReplicateClient
from replicate_proxy.replicate_api.errors import (
    NotAcceptedError,
    OutcomeUnknownError,
    RejectedError,
    UnexpectedResponseError,
    UpstreamUnavailableError,
)
from replicate_proxy.replicate_api.models import CreateTarget
from tests.support.scripted_server import (
    PREDICTION,
    Connection,
    Script,
    ScriptedServer,
    build_http_response,
    respond_with,
)

if TYPE_CHECKING:
    from pathlib import Path

Serve = Callable[..., ScriptedServer]
ClientFor = Callable[[str], ReplicateClient]
TARGET = CreateTarget("predictions")
BODY = {"version": "abc", "input": {"text": "Alice"}}


def create(client: ReplicateClient) -> object:
    return client.create(TARGET, BODY)


def hang(connection: Connection) -> None:
    connection.read_request()
    connection.wait_for_client_to_leave()


def hang_in_handshake(connection: Connection) -> None:
    connection.wait_for_client_to_leave()


def reset_at_once(connection: Connection) -> None:
    connection.reset()


def reset_at_the_first_byte(connection: Connection) -> None:
    connection.sock.recv(1)
    connection.reset()


def reset_after_reading(connection: Connection) -> None:
    connection.read_request()
    connection.reset()


def leave_without_answer(connection: Connection) -> None:
    connection.read_request()


def half_a_body(connection: Connection) -> None:
    connection.read_request()
    connection.send(build_http_response(201, PREDICTION)[:-40])


def half_a_head(connection: Connection) -> None:
    connection.read_request()
    connection.send(b"HTTP/1.1 201 Crea")


def no_http_at_all(connection: Connection) -> None:
    connection.read_request()
    connection.send(b"220 mail.example.com ESMTP\r\n\r\n")


def broken_chunk(connection: Connection) -> None:
    connection.read_request()
    connection.send(b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\nZZZ\r\n{}\r\n")


def contradicting_lengths(connection: Connection) -> None:
    connection.read_request()
    connection.send(b"HTTP/1.1 201 Created\r\nContent-Length: 2, 3\r\n\r\n{}")


def drip(connection: Connection) -> None:
    connection.read_request()
    connection.send(b"HTTP/1.1 201 Created\r\nContent-Length: 100000\r\n\r\n")
    # Slower than the budget of 1.5 s in sum, faster than the read timeout of 0.5 s each time.
    connection.sock.settimeout(0.2)
    for _ in range(20):
        connection.send(b" ")
        try:
            connection.sock.recv(1)
        except TimeoutError:
            continue
        return


LOST: dict[str, Script] = {
    "reset at the first byte": reset_at_the_first_byte,
    "reset after the request was read": reset_after_reading,
    "closed without an answer": leave_without_answer,
    "no answer in time": hang,
    "half a body": half_a_body,
    "half a head": half_a_head,
    "an answer that is not HTTP": no_http_at_all,
    "a broken chunk": broken_chunk,
    "a body that drips past the budget": drip,
    "broken JSON": respond_with(201, b'{"id": "gm3q'),
    "empty body": respond_with(201, b""),
    "JSON of another kind": respond_with(201, b"[]"),
    "no id": respond_with(201, {"status": "starting"}),
    "an unknown status": respond_with(201, {**PREDICTION, "status": "pondering"}),
    "a broken compression": respond_with(201, b"not gzip", "Content-Encoding: gzip"),
    "500": respond_with(500, {"detail": "Internal server error"}),
    "502 of a gateway": respond_with(502, b"<html>Bad Gateway</html>"),
    "503": respond_with(503, b"", "Retry-After: 3"),
    "504": respond_with(504, b""),
    "303": respond_with(303, b"", "Location: /elsewhere"),
}


@pytest.mark.parametrize("script", LOST.values(), ids=LOST.keys())
def test_a_create_that_left_us_without_a_usable_answer_is_unknown(
    serve: Serve, client_for: ClientFor, script: Script
) -> None:
    upstream = serve(script)
    with pytest.raises(OutcomeUnknownError):
        create(client_for(upstream.url))
    assert upstream.connections == 1, "an unknown outcome must never be sent again by itself"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_answer_with_two_lengths(serve: Serve, client_for: ClientFor) -> None:
    """requests raises InvalidHeader, as it does for a header of ours that was never sent.

    urllib3 leaves the socket of such an answer to the garbage collector, which warns; hence the filter.
    """
    upstream = serve(contradicting_lengths, contradicting_lengths)
    with pytest.raises(OutcomeUnknownError, match="InvalidHeader"):
        create(client_for(upstream.url))
    with pytest.raises(UpstreamUnavailableError):
        client_for(upstream.url).get("abc")
    gc.collect()


READS_LOST = {
    name: script
    for name, script in LOST.items()
    if name not in {"JSON of another kind", "no id", "an unknown status"}
}


@pytest.mark.parametrize("script", READS_LOST.values(), ids=READS_LOST.keys())
def test_the_same_faults_leave_a_read_to_be_asked_again(
    serve: Serve, client_for: ClientFor, script: Script
) -> None:
    with pytest.raises(UpstreamUnavailableError):
        client_for(serve(script).url).get("abc")


def test_a_read_with_an_unknown_status_fails_loudly(serve: Serve, client_for: ClientFor) -> None:
    upstream = serve(respond_with(200, {**PREDICTION, "status": "pondering"}))
    with pytest.raises(UnexpectedResponseError, match="pondering"):
        client_for(upstream.url).get("abc")


def test_nobody_listening(client_for: ClientFor) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(NotAcceptedError):
        create(client_for(f"http://127.0.0.1:{port}"))


def test_a_listener_too_busy_to_accept(client_for: ClientFor) -> None:
    """A full backlog drops our SYN: the connect itself times out."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        waiting = []
        for _ in range(4):
            sock = socket.socket()
            sock.setblocking(False)
            sock.connect_ex(listener.getsockname())
            waiting.append(sock)
        try:
            with pytest.raises(NotAcceptedError, match="Timeout"):
                create(client_for(f"http://127.0.0.1:{listener.getsockname()[1]}"))
        finally:
            for sock in waiting:
                sock.close()


def test_a_name_that_does_not_resolve(client_for: ClientFor, monkeypatch: pytest.MonkeyPatch) -> None:
    def unresolved(*args: object, **kwargs: object) -> list[object]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    # The resolver itself is replaced, since a real query would leave the machine.
    monkeypatch.setattr(socket, "getaddrinfo", unresolved)
    with pytest.raises(NotAcceptedError):
        create(client_for("https://api.replicate.invalid"))


def test_a_name_that_cannot_be_a_name(client_for: ClientFor) -> None:
    with pytest.raises(NotAcceptedError):
        create(client_for(f"https://{'a' * 64}.example.com"))


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for 127.0.0.1 and its key, in one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = tmp_path_factory.mktemp("tls") / "server.pem"
    pem.write_bytes(
        signed.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return pem


@pytest.fixture
def tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@pytest.fixture
def trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))


@pytest.mark.usefixtures("trusted")
def test_tls_works_when_nothing_fails(serve: Serve, client_for: ClientFor, tls: ssl.SSLContext) -> None:
    upstream = serve(respond_with(201, PREDICTION), tls=tls)
    assert client_for(upstream.url).create(TARGET, BODY).id == PREDICTION["id"]


def test_a_certificate_that_we_do_not_trust(serve: Serve, client_for: ClientFor, tls: ssl.SSLContext) -> None:
    upstream = serve(respond_with(201, PREDICTION), tls=tls)
    with pytest.raises(NotAcceptedError):
        create(client_for(upstream.url))
    assert upstream.requests == []


def secure(upstream: ScriptedServer) -> str:
    return upstream.url.replace("http://", "https://")


def test_garbage_instead_of_a_handshake(serve: Serve, client_for: ClientFor) -> None:
    def garbage(connection: Connection) -> None:
        connection.send(b"SSH-2.0-OpenSSH_9.6\r\n")
        connection.wait_for_client_to_leave()

    with pytest.raises(NotAcceptedError):
        create(client_for(secure(serve(garbage))))


def test_a_handshake_that_hangs(serve: Serve, client_for: ClientFor) -> None:
    """requests calls this one a read timeout, though nothing of the request was sent."""
    with pytest.raises(NotAcceptedError, match="ReadTimeout"):
        create(client_for(secure(serve(hang_in_handshake))))


def test_a_handshake_that_is_reset(serve: Serve, client_for: ClientFor) -> None:
    with pytest.raises(NotAcceptedError):
        create(client_for(secure(serve(reset_at_once))))


@pytest.mark.usefixtures("trusted")
def test_tls_that_breaks_after_the_request(serve: Serve, client_for: ClientFor, tls: ssl.SSLContext) -> None:
    """requests calls this one an SSLError, as it does a refused handshake; but the request was read."""

    def break_the_record_layer(connection: Connection) -> None:
        connection.read_request()
        with socket.socket(fileno=connection.sock.detach()) as bare:
            bare.sendall(b"\x17\x03\x03\x00\x20" + b"\x00" * 32)

    upstream = serve(break_the_record_layer, tls=tls)
    with pytest.raises(OutcomeUnknownError, match="SSLError"):
        create(client_for(upstream.url))
    assert len(upstream.requests) == 1


def test_an_idle_connection_is_never_used_for_a_create(serve: Serve, client_for: ClientFor) -> None:
    """Given a kept-alive connection that breaks at its second request, a create goes over a new one."""

    def answer_once_then_break(connection: Connection) -> None:
        connection.read_request()
        connection.send(build_http_response(200, PREDICTION))
        connection.read_request()
        connection.reset()

    upstream = serve(answer_once_then_break, respond_with(201, PREDICTION))
    client = client_for(upstream.url)
    client.get("abc")

    assert client.create(TARGET, BODY).id == PREDICTION["id"]
    assert upstream.connections == 2


def test_reads_share_a_connection(serve: Serve, client_for: ClientFor) -> None:
    def answer_twice(connection: Connection) -> None:
        for _ in range(2):
            connection.read_request()
            connection.send(build_http_response(200, PREDICTION))

    upstream = serve(answer_twice)
    client = client_for(upstream.url)
    client.get("abc")
    client.get("abc")

    assert upstream.connections == 1


@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.parametrize("location", ["{elsewhere}/v1/predictions", "http://["])
def test_a_redirect_is_refused_and_not_followed(
    serve: Serve, client_for: ClientFor, status: int, location: str
) -> None:
    elsewhere = serve(respond_with(201, PREDICTION))
    upstream = serve(respond_with(status, b"", f"Location: {location.format(elsewhere=elsewhere.url)}"))
    with pytest.raises(RejectedError) as caught:
        create(client_for(upstream.url))
    assert caught.value.status == 502
    assert elsewhere.connections == 0


def test_an_endless_reply_is_cut_off(
    serve: Serve, client_for: ClientFor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(response_module, "MAX_RESPONSE_BYTES", 1000)
    upstream = serve(respond_with(200, b" " * 5000), respond_with(201, b" " * 5000))
    with pytest.raises(UnexpectedResponseError, match="larger than"):
        client_for(upstream.url).get("abc")
    with pytest.raises(OutcomeUnknownError, match="larger than"):
        create(client_for(upstream.url))
