"""Connections that go only to checked addresses, for requests.

`connect` resolves a host name once, checks every address, and connects to one of them. Checking first and
letting the HTTP library resolve again would allow DNS rebinding. `GuardedAdapter` makes requests use such
connections; the URL keeps its host name, so that SNI, Host header and certificate check are unchanged.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Sequence
from functools import cache
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from certifi import where
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection

from replicate_proxy.net.addresses import check_address
from replicate_proxy.net.errors import ForbiddenUrlError, RequestTimeoutError, UnreachableError

if TYPE_CHECKING:
    from requests.models import PreparedRequest

    from replicate_proxy.net.addresses import AddressPolicy

type Resolver = Callable[[str, int], Sequence[str]]
"""Takes host and port; returns the addresses from DNS as text, in the order to try them."""

type OpenSocket = Callable[[str, int, float | None], socket.socket]
"""Takes host, port and connect timeout in seconds; returns a connected socket."""


def resolve_with_system(host: str, port: int) -> Sequence[str]:
    """Return all A and AAAA addresses from the system's resolver, or raise UnreachableError."""
    try:
        entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        raise UnreachableError("the host name does not resolve") from error
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in entries))


def connect(
    host: str,
    port: int,
    *,
    policy: AddressPolicy,
    resolver: Resolver,
    timeout_seconds: float,
    loopback_only: bool,
) -> socket.socket:
    """Return a TCP connection to the first address of `host` that accepts one.

    `timeout_seconds` applies to each address. One forbidden address among several forbids the host.
    """
    addresses = resolver(host, port)
    if not addresses:
        raise UnreachableError("the host name has no address")
    for address in addresses:
        # getaddrinfo keeps the zone of a scoped address (fe80::1%eth0); the ranges are checked without it.
        address_without_zone = address.partition("%")[0]
        check_address(address_without_zone, policy)
        if loopback_only and not ip_address(address_without_zone).is_loopback:
            raise ForbiddenUrlError("only https is allowed")
    return _connect_to_first(addresses, port, timeout_seconds)


def _connect_to_first(addresses: Sequence[str], port: int, timeout_seconds: float) -> socket.socket:
    failure: OSError | None = None
    for address in addresses:
        try:
            # The address is literal, so create_connection resolves nothing.
            connection = socket.create_connection((address, port), timeout_seconds)
        except OSError as error:
            failure = error
            continue
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection
    if isinstance(failure, TimeoutError):
        raise RequestTimeoutError("the host did not respond in time") from failure
    raise UnreachableError("the host refused the connection") from failure


@cache
def build_default_tls_context() -> ssl.SSLContext:
    """Return a context for TLS 1.2 or newer with the public certificate authorities.

    It is cached, because loading the authorities takes milliseconds.
    """
    return ssl.create_default_context(cafile=where())


class GuardedAdapter(HTTPAdapter):
    """A requests adapter for one request, whose connections come from `open_socket`."""

    def __init__(self, open_socket: OpenSocket, tls_context: ssl.SSLContext) -> None:
        self._open_socket = open_socket
        self._tls_context = tls_context
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=0)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **_: Any) -> None:
        """Create the pool manager. requests documents this method as the place to replace it."""
        self.poolmanager = PoolManager(num_pools=connections, maxsize=maxsize, block=block)
        self.poolmanager.pool_classes_by_scheme = _build_pool_classes(self._open_socket)

    def build_connection_pool_key_attributes(
        self, request: PreparedRequest, verify: Any, cert: Any = None
    ) -> Any:
        """Return the host parameters of requests and, in place of its TLS parameters, our context."""
        host, _ = super().build_connection_pool_key_attributes(request, verify, cert)
        return host, {"ssl_context": self._tls_context} if host["scheme"] == "https" else {}

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Do nothing: the TLS context verifies. The base class would load the authorities for each call."""


def _build_pool_classes(open_socket: OpenSocket) -> dict[str, Any]:
    """Return pool classes whose connections call `open_socket`.

    They override `_new_conn`, as urllib3's own SOCKS support does.
    """

    class PlainConnection(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return open_socket(self.host, self.port or 80, _parse_seconds(self.timeout))

    class TlsConnection(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return open_socket(self.host, self.port or 443, _parse_seconds(self.timeout))

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = PlainConnection

    class TlsPool(HTTPSConnectionPool):
        ConnectionCls = TlsConnection

    return {"http": PlainPool, "https": TlsPool}


def _parse_seconds(timeout: Any) -> float | None:
    return float(timeout) if isinstance(timeout, int | float) else None
