"""Network failures on real sockets: a create is definitely not accepted, or its outcome is unknown."""

from __future__ import annotations

import gc
import ipaddress
import socket
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from cryptography import x509

from replicate_proxy.replicate_api import response as response_module
from replicate_proxy.replicate_api.client import ReplicateClient
from replicate_proxy.replicate_api.errors import (
    NotAcceptedError,
    OutcomeUnknownError,
    RejectedError,
    UnexpectedResponseError,
    UpstreamUnavailableError,
)
from replicate_proxy.replicate_api.models import UpstreamPrediction
from tests.support.loopback import create_certificate
from tests.support.scripted_server import (
    PREDICTION,
    SUBMISSION,
    Connection,
    Script,
    ScriptedServer,
    build_http_response,
    respond_with,
)

if TYPE_CHECKING:
    from pathlib import Path

StartServer = Callable[..., ScriptedServer]
BuildClient = Callable[[str], ReplicateClient]
BODY = {"version": "abc", "input": {"text": "Alice"}}


def create(client: ReplicateClient) -> object:
    return client.create(SUBMISSION, BODY)


def read_and_send_nothing(connection: Connection) -> None:
    connection.read_request()
    connection.wait_for_client_to_close()


def send_nothing(connection: Connection) -> None:
    connection.wait_for_client_to_close()


def reset_immediately(connection: Connection) -> None:
    connection.reset()


def reset_at_first_byte(connection: Connection) -> None:
    connection.sock.recv(1)
    connection.reset()


def reset_after_reading(connection: Connection) -> None:
    connection.read_request()
    connection.reset()


def close_without_response(connection: Connection) -> None:
    connection.read_request()


def send_half_a_body(connection: Connection) -> None:
    connection.read_request()
    connection.send(build_http_response(201, PREDICTION)[:-40])


def send_half_a_head(connection: Connection) -> None:
    connection.read_request()
    connection.send(b"HTTP/1.1 201 Crea")


def send_non_http(connection: Connection) -> None:
    connection.read_request()
    connection.send(b"220 mail.example.com ESMTP\r\n\r\n")


def send_broken_chunk(connection: Connection) -> None:
    connection.read_request()
    connection.send(b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\nZZZ\r\n{}\r\n")


def send_two_content_lengths(connection: Connection) -> None:
    connection.read_request()
    connection.send(b"HTTP/1.1 201 Created\r\nContent-Length: 2, 3\r\n\r\n{}")


def send_slowly(connection: Connection) -> None:
    connection.read_request()
    connection.send(b"HTTP/1.1 201 Created\r\nContent-Length: 100000\r\n\r\n")
    # Each byte arrives within the read timeout of 0.5 s, the body not within the total of 1.5 s.
    connection.sock.settimeout(0.2)
    for _ in range(20):
        connection.send(b" ")
        try:
            connection.sock.recv(1)
        except TimeoutError:
            continue
        return


FAILURES: dict[str, Script] = {
    "reset at first byte": reset_at_first_byte,
    "reset after request was read": reset_after_reading,
    "closed without response": close_without_response,
    "no response in time": read_and_send_nothing,
    "half a body": send_half_a_body,
    "half a head": send_half_a_head,
    "not HTTP": send_non_http,
    "broken chunk": send_broken_chunk,
    "body slower than total timeout": send_slowly,
    "broken JSON": respond_with(201, b'{"id": "gm3q'),
    "empty body": respond_with(201, b""),
    "JSON array": respond_with(201, b"[]"),
    "no ID": respond_with(201, {"status": "starting"}),
    "no status": respond_with(201, {**PREDICTION, "status": None}),
    "broken compression": respond_with(201, b"not gzip", "Content-Encoding: gzip"),
    "500": respond_with(500, {"detail": "Internal server error"}),
    "502 from a gateway": respond_with(502, b"<html>Bad Gateway</html>"),
    "503": respond_with(503, b"", "Retry-After: 3"),
    "504": respond_with(504, b""),
    "303": respond_with(303, b"", "Location: /other"),
}


@pytest.mark.parametrize("script", FAILURES.values(), ids=FAILURES.keys())
def test_create_outcome_is_unknown_when_sent_without_usable_response(
    start_server: StartServer, build_client: BuildClient, script: Script
) -> None:
    server = start_server(script)
    with pytest.raises(OutcomeUnknownError):
        create(build_client(server.url))
    assert server.connections == 1, "a create of unknown outcome must not be sent again"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_response_with_two_content_lengths_is_unusable(
    start_server: StartServer, build_client: BuildClient
) -> None:
    """requests raises InvalidHeader, as it does for a request header that was never sent.

    urllib3 leaves the socket of such a response to the garbage collector, which warns; hence the filter.
    """
    server = start_server(send_two_content_lengths, send_two_content_lengths)
    with pytest.raises(OutcomeUnknownError, match="InvalidHeader"):
        create(build_client(server.url))
    with pytest.raises(UpstreamUnavailableError):
        build_client(server.url).get("abc")
    gc.collect()


READ_FAILURES = {
    name: script for name, script in FAILURES.items() if name not in {"JSON array", "no ID", "no status"}
}


@pytest.mark.parametrize("script", READ_FAILURES.values(), ids=READ_FAILURES.keys())
def test_read_is_retryable_after_same_failures(
    start_server: StartServer, build_client: BuildClient, script: Script
) -> None:
    with pytest.raises(UpstreamUnavailableError):
        build_client(start_server(script).url).get("abc")


def test_read_raises_when_status_is_missing(start_server: StartServer, build_client: BuildClient) -> None:
    server = start_server(respond_with(200, {**PREDICTION, "status": None}))
    with pytest.raises(UnexpectedResponseError, match="status"):
        build_client(server.url).get("abc")


def test_create_is_accepted_when_its_status_is_unknown(
    start_server: StartServer, build_client: BuildClient
) -> None:
    server = start_server(respond_with(201, {**PREDICTION, "status": "queued"}))
    prediction = create(build_client(server.url))
    assert isinstance(prediction, UpstreamPrediction)
    assert prediction.id == PREDICTION["id"]


@pytest.mark.parametrize("output", [b"9" * 5000, b"[1e400, -1e999]", b"[" * 100_000 + b"]" * 100_000])
def test_read_succeeds_when_output_has_odd_values(
    start_server: StartServer, build_client: BuildClient, output: bytes
) -> None:
    server = start_server(
        respond_with(200, b'{"id": "abc", "status": "succeeded", "output": ' + output + b"}")
    )
    assert build_client(server.url).get("abc").output is not None


def test_create_is_not_accepted_when_connection_is_refused(build_client: BuildClient) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(NotAcceptedError):
        create(build_client(f"http://127.0.0.1:{port}"))


def test_create_is_not_accepted_when_connect_times_out(build_client: BuildClient) -> None:
    """A full backlog drops the SYN, so that the connect times out."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        blockers = []
        for _ in range(4):
            sock = socket.socket()
            sock.setblocking(False)
            sock.connect_ex(listener.getsockname())
            blockers.append(sock)
        try:
            with pytest.raises(NotAcceptedError, match="Timeout"):
                create(build_client(f"http://127.0.0.1:{listener.getsockname()[1]}"))
        finally:
            for sock in blockers:
                sock.close()


def test_create_is_not_accepted_when_name_does_not_resolve(
    build_client: BuildClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail_to_resolve(*args: object, **kwargs: object) -> list[object]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    # The resolver is replaced, because a real query would leave the machine.
    monkeypatch.setattr(socket, "getaddrinfo", fail_to_resolve)
    with pytest.raises(NotAcceptedError):
        create(build_client("https://api.replicate.invalid"))


def test_create_is_not_accepted_when_name_is_invalid(build_client: BuildClient) -> None:
    with pytest.raises(NotAcceptedError):
        create(build_client(f"https://{'a' * 64}.example.com"))


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for 127.0.0.1 and its key, in one PEM file."""
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    return create_certificate(address, tmp_path_factory.mktemp("tls"))


@pytest.fixture
def tls_context(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@pytest.fixture
def trusted_certificate(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))


@pytest.mark.usefixtures("trusted_certificate")
def test_create_succeeds_over_tls(
    start_server: StartServer, build_client: BuildClient, tls_context: ssl.SSLContext
) -> None:
    server = start_server(respond_with(201, PREDICTION), tls_context=tls_context)
    assert build_client(server.url).create(SUBMISSION, BODY).id == PREDICTION["id"]


def test_create_is_not_accepted_when_certificate_is_untrusted(
    start_server: StartServer, build_client: BuildClient, tls_context: ssl.SSLContext
) -> None:
    server = start_server(respond_with(201, PREDICTION), tls_context=tls_context)
    with pytest.raises(NotAcceptedError):
        create(build_client(server.url))
    assert server.requests == []


def https_url(server: ScriptedServer) -> str:
    return server.url.replace("http://", "https://")


def test_create_is_not_accepted_when_handshake_is_not_tls(
    start_server: StartServer, build_client: BuildClient
) -> None:
    def send_ssh_banner(connection: Connection) -> None:
        connection.send(b"SSH-2.0-OpenSSH_9.6\r\n")
        connection.wait_for_client_to_close()

    with pytest.raises(NotAcceptedError):
        create(build_client(https_url(start_server(send_ssh_banner))))


def test_create_is_not_accepted_when_handshake_times_out(
    start_server: StartServer, build_client: BuildClient
) -> None:
    """requests reports a read timeout, although nothing was sent."""
    with pytest.raises(NotAcceptedError, match="ReadTimeout"):
        create(build_client(https_url(start_server(send_nothing))))


def test_create_is_not_accepted_when_handshake_is_reset(
    start_server: StartServer, build_client: BuildClient
) -> None:
    with pytest.raises(NotAcceptedError):
        create(build_client(https_url(start_server(reset_immediately))))


@pytest.mark.usefixtures("trusted_certificate")
def test_create_outcome_is_unknown_when_tls_breaks_after_request(
    start_server: StartServer, build_client: BuildClient, tls_context: ssl.SSLContext
) -> None:
    """requests raises SSLError, as it does for a refused handshake, but the request was read."""

    def break_the_record_layer(connection: Connection) -> None:
        connection.read_request()
        with socket.socket(fileno=connection.sock.detach()) as raw_socket:
            raw_socket.sendall(b"\x17\x03\x03\x00\x20" + b"\x00" * 32)

    server = start_server(break_the_record_layer, tls_context=tls_context)
    with pytest.raises(OutcomeUnknownError, match="SSLError"):
        create(build_client(server.url))
    assert len(server.requests) == 1


def test_create_does_not_use_idle_connection(start_server: StartServer, build_client: BuildClient) -> None:
    """The idle connection breaks at its second request; the create uses a new one."""

    def respond_once_then_reset(connection: Connection) -> None:
        connection.read_request()
        connection.send(build_http_response(200, PREDICTION))
        connection.read_request()
        connection.reset()

    server = start_server(respond_once_then_reset, respond_with(201, PREDICTION))
    client = build_client(server.url)
    client.get("abc")

    assert client.create(SUBMISSION, BODY).id == PREDICTION["id"]
    assert server.connections == 2


def test_reads_share_connection(start_server: StartServer, build_client: BuildClient) -> None:
    def respond_twice(connection: Connection) -> None:
        for _ in range(2):
            connection.read_request()
            connection.send(build_http_response(200, PREDICTION))

    server = start_server(respond_twice)
    client = build_client(server.url)
    client.get("abc")
    client.get("abc")

    assert server.connections == 1


@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.parametrize("location", ["{other_server}/v1/predictions", "http://["])
def test_create_rejects_redirect_without_following(
    start_server: StartServer, build_client: BuildClient, status: int, location: str
) -> None:
    other_server = start_server(respond_with(201, PREDICTION))
    server = start_server(
        respond_with(status, b"", f"Location: {location.format(other_server=other_server.url)}")
    )
    with pytest.raises(RejectedError) as caught:
        create(build_client(server.url))
    assert caught.value.status == 502
    assert other_server.connections == 0


def test_oversized_response_raises(
    start_server: StartServer, build_client: BuildClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(response_module, "MAX_RESPONSE_BYTES", 1000)
    server = start_server(respond_with(200, b" " * 5000), respond_with(201, b" " * 5000))
    with pytest.raises(UnexpectedResponseError, match="larger than"):
        build_client(server.url).get("abc")
    with pytest.raises(OutcomeUnknownError, match="larger than"):
        create(build_client(server.url))


def test_outcome_of_create_is_unknown_when_its_first_write_breaks(
    start_server: StartServer, build_client: BuildClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some of it may have been sent."""

    def break_off(*_: object) -> None:
        raise ConnectionResetError

    monkeypatch.setattr("http.client.HTTPConnection.send", break_off)

    with pytest.raises(OutcomeUnknownError):
        build_client(start_server(respond_with(201, PREDICTION)).url).create(SUBMISSION, {})
