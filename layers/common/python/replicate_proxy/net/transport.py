"""Opening a connection only to an address that was checked: every answer of DNS is, and the socket goes to
one of them.

Checking first and letting the HTTP library resolve again would leave a gap for DNS rebinding: here the
address that was checked is the one connected to.

requests over guarded sockets: the URL keeps its host name, so SNI, Host header and certificate check stay
right.
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

from replicate_proxy.net.addresses import AddressPolicy, check_address
from replicate_proxy.net.errors import (
    ForbiddenAddressError,
    ForbiddenUrlError,
    RequestTimeoutError,
    UnreachableError,
)

if TYPE_CHECKING:
    from requests.models import PreparedRequest

__all__ = [
    "AddressPolicy",
    "ForbiddenAddressError",
    "GuardedAdapter",
    "OpenSocket",
    "Resolver",
    "check_address",
    "default_tls",
    "open_checked",
    "resolve_checked",
    "system_resolver",
]

type Resolver = Callable[[str, int], Sequence[str]]
"""Host and port to the textual addresses DNS answers with, in the order to try them."""


def system_resolver(host: str, port: int) -> Sequence[str]:
    """All A and AAAA answers of the system's resolver. Raises UnreachableError when there is none."""
    try:
        answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        raise UnreachableError("the host name does not resolve") from error
    return tuple(dict.fromkeys(str(answer[4][0]) for answer in answers))


def resolve_checked(
    host: str,
    port: int,
    *,
    policy: AddressPolicy,
    resolver: Resolver = system_resolver,
    loopback_only: bool = False,
) -> Sequence[str]:
    """The host's addresses, after each of them passed `check_address`: one bad answer refuses the host."""
    addresses = resolver(host, port)
    if not addresses:
        raise UnreachableError("the host name has no address")
    for address in addresses:
        # getaddrinfo leaves the zone on a scoped address (fe80::1%eth0); the range is judged without it.
        bare = address.partition("%")[0]
        check_address(bare, policy)
        if loopback_only and not ip_address(bare).is_loopback:
            raise ForbiddenUrlError("only https is called")
    return addresses


def open_checked(addresses: Sequence[str], port: int, timeout: float | None) -> socket.socket:
    """A connected TCP socket to the first of the checked addresses that answers within `timeout` seconds."""
    failure: OSError | None = None
    for address in addresses:
        try:
            # A literal address: create_connection resolves nothing any more.
            connection = socket.create_connection((address, port), timeout)
        except OSError as error:
            failure = error
            continue
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection
    if isinstance(failure, TimeoutError):
        raise RequestTimeoutError("the host did not answer in time") from failure
    raise UnreachableError("the host refused the connection") from failure


type OpenSocket = Callable[[str, int, float | None], socket.socket]
"""Host, port and connect timeout in seconds to a connected socket (`net.guard.open_checked`)."""


@cache
def default_tls() -> ssl.SSLContext:
    """TLS 1.2 or newer with the public certificate authorities; made once, since loading them takes
    milliseconds.
    """
    return ssl.create_default_context(cafile=where())


class GuardedAdapter(HTTPAdapter):
    """A transport for one request: `open_socket` opens its connections, never urllib3 itself."""

    def __init__(self, open_socket: OpenSocket, tls: ssl.SSLContext) -> None:
        self._open_socket = open_socket
        self._tls = tls
        super().__init__(pool_connections=1, pool_maxsize=1, max_retries=0)

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **_: Any) -> None:
        """The hook that requests offers for another pool."""
        self.poolmanager = PoolManager(num_pools=connections, maxsize=maxsize, block=block)
        self.poolmanager.pool_classes_by_scheme = _pool_classes(self._open_socket)

    def build_connection_pool_key_attributes(
        self, request: PreparedRequest, verify: Any, cert: Any = None
    ) -> Any:
        """Host and TLS parameters in the types of requests itself, the latter replaced by our context."""
        host, _ = super().build_connection_pool_key_attributes(request, verify, cert)
        return host, {"ssl_context": self._tls} if host["scheme"] == "https" else {}

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Nothing to do: the context verifies. The base class would load the authorities for each call."""


def _pool_classes(open_socket: OpenSocket) -> dict[str, Any]:
    """Pools whose connections call `open_socket`, by the method that urllib3's own SOCKS support overrides
    too.
    """

    class PlainConnection(HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return open_socket(self.host, self.port or 80, _seconds(self.timeout))

    class TlsConnection(HTTPSConnection):
        def _new_conn(self) -> socket.socket:
            return open_socket(self.host, self.port or 443, _seconds(self.timeout))

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = PlainConnection

    class TlsPool(HTTPSConnectionPool):
        ConnectionCls = TlsConnection

    return {"http": PlainPool, "https": TlsPool}


def _seconds(timeout: Any) -> float | None:
    return float(timeout) if isinstance(timeout, int | float) else None
