"""Deadlines, and their enforcement on open sockets and on calls that take none."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from concurrent.futures import Future
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Deadline:
    """A point in time, `seconds` after its creation, by which work must be done."""

    def __init__(self, seconds: float, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._ends_at = monotonic() + seconds

    @property
    def remaining_seconds(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self._ends_at - self._monotonic())

    @property
    def has_passed(self) -> bool:
        return self._monotonic() >= self._ends_at


def call_within[Result](seconds: float, function: Callable[[], Result], *, thread_name: str) -> Result:
    """Return the result of a function, or raise TimeoutError after so many seconds.

    It runs in a thread. One that is abandoned ends when the function does.
    """
    future: Future[Result] = Future()

    def run() -> None:
        try:
            future.set_result(function())
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
            future.set_exception(error)

    threading.Thread(target=run, name=thread_name, daemon=True).start()
    return future.result(seconds)


class SocketWatchdog:
    """Shuts down the watched sockets when the deadline passes, which ends every blocked read.

    Read timeouts alone do not bound a slow stream, because each byte restarts them. The watchdog duplicates
    the file descriptors, because TLS takes over the original ones.
    """

    def __init__(self, deadline: Deadline) -> None:
        self.deadline = deadline
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()
        self._timer = threading.Timer(deadline.remaining_seconds, self._shut_down)
        self._timer.daemon = True
        self._timer.start()

    def watch(self, connection: socket.socket) -> None:
        """Watch a connected socket."""
        with self._lock:
            self._sockets.append(connection.dup())
        if self.deadline.has_passed:
            self._shut_down()

    def close(self) -> None:
        """Stop the timer and release the sockets without shutting them down."""
        self._timer.cancel()
        with self._lock:
            while self._sockets:
                self._sockets.pop().close()

    def _shut_down(self) -> None:
        with self._lock:
            for connection in self._sockets:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
