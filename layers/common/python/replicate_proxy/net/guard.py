"""Opening a connection only to an address that was checked: every answer of DNS is, and the socket goes to
one of them.

Checking first and letting the HTTP library resolve again would leave a gap for DNS rebinding: here the
address that was checked is the one connected to.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from ipaddress import ip_address

from replicate_proxy.net.addresses import AddressPolicy, check_address
from replicate_proxy.net.errors import (
    ForbiddenAddressError,
    ForbiddenTargetError,
    TooSlowError,
    UnreachableError,
)

__all__ = [
    "AddressPolicy",
    "ForbiddenAddressError",
    "Resolver",
    "check_address",
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
            raise ForbiddenTargetError("only https is called")
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
        raise TooSlowError("the host did not answer in time") from failure
    raise UnreachableError("the host refused the connection") from failure
