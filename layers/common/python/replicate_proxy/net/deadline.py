"""An end to a request that no trickle of bytes can put off: per-read timeouts alone never add up to one."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Deadline"]


class Deadline:
    """Counts from its creation; when `seconds` are over, every watched socket is shut down under its reader.

    A second descriptor of the same connection is kept for that, because TLS takes the first one over.
    """

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        self._watched: list[socket.socket] = []
        self._lock = threading.Lock()
        self._timer = threading.Timer(seconds, self._expire)
        self._timer.daemon = True
        self._timer.start()

    @property
    def remaining(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self._end - time.monotonic())

    @property
    def expired(self) -> bool:
        return time.monotonic() >= self._end

    def watch(self, connection: socket.socket) -> None:
        """Ties a connected socket to this deadline."""
        with self._lock:
            self._watched.append(connection.dup())
        if self.expired:
            self._expire()

    def close(self) -> None:
        """Stops the clock and lets go of the sockets without ending them."""
        self._timer.cancel()
        with self._lock:
            while self._watched:
                self._watched.pop().close()

    def _expire(self) -> None:
        with self._lock:
            for connection in self._watched:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
