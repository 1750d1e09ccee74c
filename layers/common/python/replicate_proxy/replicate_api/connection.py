"""HTTP connections that remember whether any byte of a request left us.

The exception of a failed request does not tell: `requests` raises the same SSLError for a refused handshake
(nothing sent) and for a connection broken while the answer was read (sent, perhaps accepted), and calls a
handshake that hangs a read timeout. So the connection itself notes the moment before its first `send`.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from urllib3.poolmanager import PoolManager, ProxyManager


@dataclass(slots=True)
class SendTracker:
    """How far one request got: `handed` to a transport, to one that is `watched`, `sent` at least in part."""

    requires_new_connection: bool
    handed_to_transport: bool = False
    transport_tracks_sending: bool = False
    send_started: bool = False

    @property
    def definitely_not_sent(self) -> bool:
        return not self.handed_to_transport or (self.transport_tracks_sending and not self.send_started)


_current: ContextVar[SendTracker | None] = ContextVar("wire", default=None)


@contextmanager
def track_send(*, requires_new_connection: bool = False) -> Iterator[SendTracker]:
    """Watches the request made inside; `fresh` keeps it off pooled connections.

    A pooled connection that the other side closed while idle breaks only after the request was written, which
    leaves the outcome unknown; a fresh one has no such past.
    """
    wire = SendTracker(requires_new_connection=requires_new_connection)
    token = _current.set(wire)
    try:
        yield wire
    finally:
        _current.reset(token)


def _note_sending() -> None:
    wire = _current.get()
    if wire is not None:
        wire.send_started = True


def _wants_fresh() -> bool:
    wire = _current.get()
    return wire is not None and wire.requires_new_connection


class _PlainConnection(HTTPConnection):
    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()
        _note_sending()
        super().send(data)

    @property
    def is_connected(self) -> bool:
        return super().is_connected and not _wants_fresh()


class _SecureConnection(HTTPSConnection):
    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()
        _note_sending()
        super().send(data)

    @property
    def is_connected(self) -> bool:
        return super().is_connected and not _wants_fresh()


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _PlainConnection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


_MOST_THREADS = 32

_POOLS: Mapping[str, type[HTTPConnectionPool]] = {"http": _PlainPool, "https": _SecurePool}


class TrackingAdapter(HTTPAdapter):
    """A requests adapter on the connections above, without retries of its own."""

    def __init__(self) -> None:
        super().__init__(max_retries=0, pool_maxsize=_MOST_THREADS)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        manager: PoolManager = self.poolmanager
        manager.pool_classes_by_scheme = dict(_POOLS)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> ProxyManager:
        manager: ProxyManager = super().proxy_manager_for(proxy, **kwargs)
        manager.pool_classes_by_scheme = dict(_POOLS)
        return manager

    def send(self, *args: Any, **kwargs: Any) -> requests.Response:
        wire = _current.get()
        if wire is not None:
            wire.transport_tracks_sending = True
        return super().send(*args, **kwargs)


class _Session(requests.Session):
    def get_redirect_target(self, resp: requests.Response) -> None:
        """Always None: requests would parse the Location, and may raise, even when told not to follow it."""


def open_session() -> requests.Session:
    """A session whose every request can be watched, and which knows no redirects."""
    session = _Session()
    session.mount("https://", TrackingAdapter())
    session.mount("http://", TrackingAdapter())
    return session
