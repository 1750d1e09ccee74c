"""Guarded requests: the only way in this package to call an address that somebody else chose."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urljoin

import requests
from requests import exceptions

from replicate_proxy.net.addresses import ParsedUrl, parse_url
from replicate_proxy.net.errors import (
    ForbiddenUrlError,
    InvalidResponseError,
    RequestTimeoutError,
    UnreachableError,
)
from replicate_proxy.net.response import Deadline, GuardedResponse
from replicate_proxy.net.transport import (
    GuardedAdapter,
    Resolver,
    default_tls,
    open_checked,
    resolve_checked,
    system_resolver,
)

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Callable, Mapping

    from replicate_proxy.net.addresses import AddressPolicy


_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_CREDENTIALS = frozenset({"authorization", "cookie"})
_UNLIMITED = 1 << 62


@dataclass(frozen=True)
class GuardedSession:
    """Settings of guarded requests; safe to share between threads.

    `connect_timeout` and `read_timeout` (longest silence) are in seconds. `allowed_hosts` narrows the hosts
    further than the address policy does. `max_redirects` of GET and HEAD are followed, each hop checked as
    the first one was and stripped of credentials when the origin changes; 0 hands the 3xx back. `tls` and
    `resolver` are seams for a private certificate authority and for tests.
    """

    policy: AddressPolicy
    connect_timeout_seconds: float = 5.0
    read_timeout_seconds: float = 10.0
    is_allowed_host: Callable[[str], bool] | None = None
    max_redirects: int = 0
    tls_context: ssl.SSLContext | None = None
    resolver: Resolver = field(default=system_resolver, repr=False)

    def request(
        self,
        method: str,
        url: str,
        *,
        timeout_seconds: float,
        headers: Mapping[str, str] | None = None,
        data: bytes | None = None,
        stream: bool = False,
        max_bytes: int = _UNLIMITED,
    ) -> GuardedResponse:
        """One request within `timeout` seconds in total, redirects and body included.

        With `stream` the caller reads and closes (`with session.request(…) as response`); without, the body
        was read and the connection closed. Raises the classes of `net.errors`; a 4xx or 5xx is an answer, not
        an error.
        """
        deadline = Deadline(timeout_seconds)
        try:
            response = self._follow(method, url, dict(headers or {}), data, deadline)
        except BaseException:
            deadline.close()
            raise
        guarded = GuardedResponse(response, deadline, max_bytes=max_bytes)
        if not stream:
            with guarded:
                guarded.read()
        return guarded

    def check_url(self, url: str) -> ParsedUrl:
        """The parsed URL, or ForbiddenUrlError saying why it would not be called. Resolves no name."""
        target = parse_url(url, self.policy)
        if self.is_allowed_host is not None and not self.is_allowed_host(target.host):
            raise ForbiddenUrlError("the host is not on the list of allowed hosts")
        return target

    def _follow(
        self, method: str, url: str, headers: dict[str, str], data: bytes | None, deadline: Deadline
    ) -> requests.Response:
        hops = self.max_redirects if method in {"GET", "HEAD"} else 0
        target = self.check_url(url)
        while True:
            response = self._send(method, target, headers, data, deadline)
            location = response.headers.get("Location", "")
            if response.status_code not in _REDIRECTS or not location or self.max_redirects == 0:
                return response
            response.close()
            if hops == 0:
                raise InvalidResponseError("too many redirects")
            hops -= 1
            following = self.check_url(urljoin(target.url, location))
            if (following.scheme, following.host, following.port) != (
                target.scheme,
                target.host,
                target.port,
            ):
                headers = {name: value for name, value in headers.items() if name.lower() not in _CREDENTIALS}
            target = following

    def _send(
        self,
        method: str,
        target: ParsedUrl,
        headers: Mapping[str, str],
        data: bytes | None,
        deadline: Deadline,
    ) -> requests.Response:
        # Plain http is for this machine alone: a request in clear text never leaves it.
        loopback_only = target.scheme == "http"

        def open_socket(host: str, port: int, timeout: float | None) -> socket.socket:
            wait = min(timeout or self.connect_timeout_seconds, deadline.remaining)
            addresses = resolve_checked(
                host, port, policy=self.policy, resolver=self.resolver, loopback_only=loopback_only
            )
            connection = open_checked(addresses, port, wait)
            deadline.watch(connection)
            return connection

        request = requests.Request(method, target.url, headers=_headers(headers), data=data).prepare()
        adapter = GuardedAdapter(open_socket, self.tls_context or default_tls())
        try:
            return adapter.send(
                request, stream=True, timeout=(self.connect_timeout_seconds, self.read_timeout_seconds)
            )
        except exceptions.SSLError as error:
            raise UnreachableError("the TLS handshake failed") from error
        except exceptions.Timeout as error:
            raise RequestTimeoutError("the host did not answer in time") from error
        except exceptions.RequestException as error:
            if deadline.expired:
                raise RequestTimeoutError("the total time of the request is up") from error
            raise UnreachableError("the connection failed") from error


def _headers(headers: Mapping[str, str]) -> dict[str, str]:
    return {"Accept-Encoding": "identity", "User-Agent": "replicate-proxy", "Connection": "close", **headers}
