"""Guarded requests, for all URLs that come from outside parties."""

from __future__ import annotations

from dataclasses import dataclass, field
from http.client import HTTPException
from typing import TYPE_CHECKING
from urllib.parse import urljoin

import requests
from requests import exceptions
from urllib3.exceptions import HTTPError

from replicate_proxy.net.addresses import ParsedUrl, escape_blanks, parse_url
from replicate_proxy.net.deadline import Deadline, SocketWatchdog
from replicate_proxy.net.errors import (
    ForbiddenUrlError,
    InvalidResponseError,
    RequestTimeoutError,
    UnreachableError,
)
from replicate_proxy.net.response import GuardedResponse
from replicate_proxy.net.transport import (
    GuardedAdapter,
    Resolver,
    build_default_tls_context,
    connect,
    resolve_with_system,
)

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Callable, Mapping

    from replicate_proxy.net.addresses import AddressPolicy
    from replicate_proxy.net.transport import OpenSocket


_REDIRECT_STATUSES = frozenset({301, 302, 303, 307, 308})
_CREDENTIAL_HEADERS = frozenset({"authorization", "cookie"})
_NO_BYTE_LIMIT = 1 << 62


@dataclass(frozen=True)
class GuardedSession:
    """Sends guarded requests. Threads can share a session.

    `read_timeout_seconds` is the longest pause between two bytes. `is_allowed_host` restricts the hosts
    beyond the address policy. GET and HEAD follow up to `max_redirects`: each hop is checked like the first
    URL and loses the credentials when the origin changes; 0 returns the 3xx response itself. `tls_context`
    and `resolver` can be replaced for a private certificate authority and for tests.
    """

    policy: AddressPolicy
    connect_timeout_seconds: float = 5.0
    read_timeout_seconds: float = 10.0
    is_allowed_host: Callable[[str], bool] | None = None
    max_redirects: int = 0
    tls_context: ssl.SSLContext | None = None
    resolver: Resolver = field(default=resolve_with_system, repr=False)

    def request(
        self,
        method: str,
        url: str,
        *,
        timeout_seconds: float,
        headers: Mapping[str, str] | None = None,
        data: bytes | None = None,
        stream: bool = False,
        max_bytes: int = _NO_BYTE_LIMIT,
    ) -> GuardedResponse:
        """Send a request; `timeout_seconds` bounds all of it, from name resolution to redirects and body.

        With `stream` the caller reads the body and closes the response (`with session.request(…) as
        response`); without it the body is read and the connection closed before this returns. Raises the
        errors of `net.errors`. A 4xx or 5xx status is a response, not an error.
        """
        watchdog = SocketWatchdog(Deadline(timeout_seconds))
        try:
            response = self._send_following_redirects(method, url, dict(headers or {}), data, watchdog)
        except BaseException:
            watchdog.close()
            raise
        guarded = GuardedResponse(response, watchdog, max_bytes=max_bytes)
        if not stream:
            with guarded:
                guarded.read()
        return guarded

    def _check_url(self, url: str) -> ParsedUrl:
        """Return the parsed URL, or raise ForbiddenUrlError if it may not be called. Resolves no name."""
        parsed = parse_url(url, self.policy)
        if self.is_allowed_host is not None and not self.is_allowed_host(parsed.host):
            raise ForbiddenUrlError("the host is not on the list of allowed hosts")
        return parsed

    def _send_following_redirects(
        self, method: str, url: str, headers: dict[str, str], data: bytes | None, watchdog: SocketWatchdog
    ) -> requests.Response:
        redirects_left = self.max_redirects if method in {"GET", "HEAD"} else 0
        current = self._check_url(url)
        while True:
            response = self._send(method, current, headers, data, watchdog)
            location = response.headers.get("Location", "")
            if response.status_code not in _REDIRECT_STATUSES or not location or self.max_redirects == 0:
                return response
            response.close()
            if redirects_left == 0:
                raise InvalidResponseError("too many redirects")
            redirects_left -= 1
            following = self._check_url(_resolve_location(current.url, location))
            if following.origin != current.origin:
                headers = _remove_credentials(headers)
            current = following

    def _send(
        self,
        method: str,
        url: ParsedUrl,
        headers: Mapping[str, str],
        data: bytes | None,
        watchdog: SocketWatchdog,
    ) -> requests.Response:
        open_socket = self._build_open_socket(watchdog, loopback_only=url.scheme == "http")
        adapter = GuardedAdapter(open_socket, self.tls_context or build_default_tls_context())
        try:
            return adapter.send(
                _prepare_request(method, url, headers, data),
                stream=True,
                timeout=(self.connect_timeout_seconds, self.read_timeout_seconds),
            )
        except exceptions.SSLError as error:
            raise UnreachableError("the TLS handshake failed") from error
        except exceptions.Timeout as error:
            raise RequestTimeoutError("the host did not respond in time") from error
        # requests passes on some errors of the libraries below it, such as a response that is not HTTP.
        except (exceptions.RequestException, HTTPError, HTTPException, ValueError) as error:
            if watchdog.deadline.has_passed:
                raise RequestTimeoutError("the total timeout of the request expired") from error
            raise UnreachableError("the connection failed") from error

    def _build_open_socket(self, watchdog: SocketWatchdog, *, loopback_only: bool) -> OpenSocket:
        """Return the connect function of one request. Plain http is allowed on loopback only."""

        def open_socket(host: str, port: int, timeout_seconds: float | None) -> socket.socket:
            connection = connect(
                host,
                port,
                policy=self.policy,
                resolver=self.resolver,
                deadline=watchdog.deadline,
                timeout_seconds=timeout_seconds or self.connect_timeout_seconds,
                loopback_only=loopback_only,
            )
            watchdog.watch(connection)
            return connection

        return open_socket


def _prepare_request(
    method: str, url: ParsedUrl, headers: Mapping[str, str], data: bytes | None
) -> requests.PreparedRequest:
    """Return the request for exactly the checked URL.

    `prepare_url` is not called, since it would parse the URL again, by other rules.
    """
    request = requests.PreparedRequest()
    request.prepare_method(method)
    request.url = url.url
    request.prepare_headers(_add_default_headers(headers))
    request.prepare_body(data, None)
    return request


def _resolve_location(url: str, location: str) -> str:
    """Return the URL that a Location header names. Raises ForbiddenUrlError if it names none."""
    try:
        # Headers are decoded as Latin-1, but servers send UTF-8.
        location = location.encode("latin-1").decode("utf-8")
    except UnicodeError:
        location = location.encode("ascii", "replace").decode()
    try:
        return urljoin(url, escape_blanks(location))
    except ValueError:
        raise ForbiddenUrlError("the redirect cannot be parsed") from None


def _add_default_headers(headers: Mapping[str, str]) -> dict[str, str]:
    return {"Accept-Encoding": "identity", "User-Agent": "replicate-proxy", "Connection": "close", **headers}


def _remove_credentials(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in _CREDENTIAL_HEADERS}
