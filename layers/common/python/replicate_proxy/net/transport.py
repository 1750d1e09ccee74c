"""Connections that go only to checked addresses, for requests.

`connect` resolves a host name once, checks every address, and connects to one of them. Checking first and
letting the HTTP library resolve again would allow DNS rebinding. `GuardedAdapter` makes requests use such
connections; the URL keeps its host name, so that SNI, Host header and certificate check are unchanged.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Sequence
from functools import cache, partial
from ipaddress import IPv6Address, ip_address
from itertools import chain, zip_longest
from typing import TYPE_CHECKING, Any

from certifi import where
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection

from replicate_proxy.net.addresses import check_address
from replicate_proxy.net.deadline import call_within
from replicate_proxy.net.errors import ForbiddenUrlError, RequestTimeoutError, UnreachableError

if TYPE_CHECKING:
    from requests.models import PreparedRequest

    from replicate_proxy.net.addresses import AddressPolicy
    from replicate_proxy.net.deadline import Deadline

_MAX_ADDRESSES_TRIED = 4

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
    deadline: Deadline,
    timeout_seconds: float,
    loopback_only: bool,
) -> socket.socket:
    """Return a TCP connection to one of the first addresses of `host`.

    `timeout_seconds` applies to each address, `deadline` to name resolution and all addresses together. One
    forbidden address among several forbids the host.
    """
    addresses = _resolve_within(deadline, resolver, host, port)
    if not addresses:
        raise UnreachableError("the host name has no address")
    for address in addresses:
        # getaddrinfo keeps the zone of a scoped address (fe80::1%eth0); the ranges are checked without it.
        address_without_zone = address.partition("%")[0]
        check_address(address_without_zone, policy)
        if loopback_only and not ip_address(address_without_zone).is_loopback:
            raise ForbiddenUrlError("only https is allowed")
    return _connect_to_first(_select_addresses(addresses), port, deadline, timeout_seconds)


def _resolve_within(deadline: Deadline, resolver: Resolver, host: str, port: int) -> Sequence[str]:
    """Return the addresses of the host, or raise RequestTimeoutError at the deadline.

    getaddrinfo takes no timeout, and a name server of the host's owner decides how long it takes. A thread
    that is abandoned ends when the system's resolver gives up.
    """
    try:
        return call_within(deadline.remaining_seconds, partial(resolver, host, port), thread_name="resolve")
    except TimeoutError as error:
        raise RequestTimeoutError("the host name did not resolve in time") from error


def _select_addresses(addresses: Sequence[str]) -> Sequence[str]:
    """Return the addresses to try: few, and both families in turn (RFC 8305, section 4).

    A function without IPv6 would otherwise try nothing but IPv6 addresses of a host that has many of them.
    """
    families: dict[bool, list[str]] = {}
    for address in addresses:
        is_ipv6 = isinstance(ip_address(address.partition("%")[0]), IPv6Address)
        families.setdefault(is_ipv6, []).append(address)
    in_turn = chain.from_iterable(zip_longest(*families.values()))
    return [address for address in in_turn if address is not None][:_MAX_ADDRESSES_TRIED]


def _connect_to_first(
    addresses: Sequence[str], port: int, deadline: Deadline, timeout_seconds: float
) -> socket.socket:
    failure: OSError | None = None
    for address in addresses:
        if deadline.has_passed:
            break
        try:
            # The address is literal, so create_connection resolves nothing.
            connection = socket.create_connection(
                (address, port), min(timeout_seconds, deadline.remaining_seconds)
            )
        except OSError as error:
            failure = error
            continue
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection
    if deadline.has_passed or isinstance(failure, TimeoutError):
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
