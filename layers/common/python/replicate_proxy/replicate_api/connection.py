"""HTTP connections that record whether any byte of a request was sent.

The exception of a failed request does not say so: requests raises the same SSLError for a refused handshake
(nothing sent) and for a connection that breaks while the response is read (sent, perhaps accepted), and it
reports a handshake without a response as a read timeout. Therefore the connection itself records the moment
before its first `send`.
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

_MAX_THREADS = 32


@dataclass(slots=True)
class SendTracker:
    """How far one request got: passed to a transport, to one that tracks sending, sent at least in part."""

    requires_new_connection: bool
    passed_to_transport: bool = False
    transport_tracks_sending: bool = False
    send_started: bool = False

    @property
    def definitely_not_sent(self) -> bool:
        return not self.passed_to_transport or (self.transport_tracks_sending and not self.send_started)


_current_tracker: ContextVar[SendTracker | None] = ContextVar("send_tracker", default=None)


@contextmanager
def track_send(*, requires_new_connection: bool) -> Iterator[SendTracker]:
    """Track the request made inside.

    `requires_new_connection` avoids pooled connections. If the other side closed one while it was idle, it
    breaks only after the request was written, which leaves the outcome unknown.
    """
    tracker = SendTracker(requires_new_connection)
    token = _current_tracker.set(tracker)
    try:
        yield tracker
    finally:
        _current_tracker.reset(token)


def open_session() -> requests.Session:
    """Return a session that tracks every request and follows no redirects."""
    session = _Session()
    session.mount("https://", TrackingAdapter())
    session.mount("http://", TrackingAdapter())
    return session


class _Session(requests.Session):
    def get_redirect_target(self, resp: requests.Response) -> None:
        """Return None: requests parses the Location even if redirects are off, and may raise."""


class TrackingAdapter(HTTPAdapter):
    """A requests adapter whose connections track sending. It does not retry."""

    def __init__(self) -> None:
        super().__init__(max_retries=0, pool_maxsize=_MAX_THREADS)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        manager: PoolManager = self.poolmanager
        manager.pool_classes_by_scheme = dict(_POOL_CLASSES)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> ProxyManager:
        manager: ProxyManager = super().proxy_manager_for(proxy, **kwargs)
        manager.pool_classes_by_scheme = dict(_POOL_CLASSES)
        return manager

    def send(self, *args: Any, **kwargs: Any) -> requests.Response:
        tracker = _current_tracker.get()
        if tracker is not None:
            tracker.transport_tracks_sending = True
        return super().send(*args, **kwargs)


class _PlainConnection(HTTPConnection):
    """Records the start of sending, and counts as closed if the request needs a new connection."""

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()
        _record_send_start()
        super().send(data)

    @property
    def is_connected(self) -> bool:
        return super().is_connected and not _requires_new_connection()


class _TlsConnection(_PlainConnection, HTTPSConnection):
    """The same for TLS."""


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _PlainConnection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


_POOL_CLASSES: Mapping[str, type[HTTPConnectionPool]] = {"http": _PlainPool, "https": _TlsPool}


def _record_send_start() -> None:
    tracker = _current_tracker.get()
    if tracker is not None:
        tracker.send_started = True


def _requires_new_connection() -> bool:
    tracker = _current_tracker.get()
    return tracker is not None and tracker.requires_new_connection
