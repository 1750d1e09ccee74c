"""requests over guarded sockets: the URL keeps its host name, so SNI, Host header and certificate check stay
right.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

from certifi import where
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection

if TYPE_CHECKING:
    from requests.models import PreparedRequest

__all__ = ["GuardedAdapter", "OpenSocket", "default_tls"]

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
