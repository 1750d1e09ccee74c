"""An end to a request that no trickle of bytes can put off: per-read timeouts alone never add up to one.

An answer whose body is read in bounded pieces, as it came over the wire (never decompressed).
"""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from typing import TYPE_CHECKING, Self

from urllib3.exceptions import HTTPError

from replicate_proxy.net.errors import (
    InvalidResponseError,
    RequestTimeoutError,
    ResponseTooLargeError,
    UnreachableError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import TracebackType

    import requests


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


_CHUNK = 256 * 1024
_LENGTH = re.compile(r"[0-9]{1,18}")


class GuardedResponse:
    """Status, headers (case-insensitive) and final URL; a context manager that closes the connection."""

    def __init__(self, response: requests.Response, deadline: Deadline, *, max_bytes: int) -> None:
        self._response = response
        self._deadline = deadline
        self._max_bytes = max_bytes
        self._body: bytes | None = None
        self.status = response.status_code
        self.headers: Mapping[str, str] = response.headers
        self.url = response.url or ""

    @property
    def content_length(self) -> int | None:
        """Content-Length, where the server sent a usable one."""
        text = self.headers.get("Content-Length", "")
        return int(text) if _LENGTH.fullmatch(text) else None

    def iter_chunks(self) -> Iterator[bytes]:
        """Yield the body in pieces.

        Raises ResponseTooLargeError beyond `max_bytes`, RequestTimeoutError, UnreachableError when cut short.
        """
        if self.headers.get("Content-Encoding", "identity").strip().lower() not in {"", "identity"}:
            raise InvalidResponseError("the server compressed the body although it was asked not to")
        if (self.content_length or 0) > self._max_bytes:
            raise ResponseTooLargeError(f"the body is announced with more than {self._max_bytes} bytes")
        seen = 0
        while chunk := self._read():
            seen += len(chunk)
            if seen > self._max_bytes:
                raise ResponseTooLargeError(f"the body has more than {self._max_bytes} bytes")
            yield chunk
        if self._deadline.expired:
            raise RequestTimeoutError("the total time of the request is up")
        if (
            self.content_length is not None
            and seen < self.content_length
            and self._response.request.method != "HEAD"
        ):
            raise UnreachableError("the body ended early")

    def read(self) -> bytes:
        """The whole body; same errors as `chunks`. Repeated calls give the same bytes."""
        if self._body is None:
            self._body = b"".join(self.iter_chunks())
        return self._body

    def read_prefix(self, max_bytes: int) -> bytes:
        """The first `limit` bytes of the body; what follows is not fetched, and a broken tail is no error."""
        head = bytearray()
        try:
            while len(head) < max_bytes and (chunk := self._read()):
                head += chunk
        except (RequestTimeoutError, UnreachableError):
            return bytes(head[:max_bytes])
        return bytes(head[:max_bytes])

    def close(self) -> None:
        self._response.close()
        self._deadline.close()

    def _read(self) -> bytes:
        try:
            # read1 returns after one read of the socket, so the limits are looked at however slowly bytes
            # come.
            return bytes(self._response.raw.read1(_CHUNK, decode_content=False))
        except (HTTPError, OSError) as error:
            if self._deadline.expired:
                raise RequestTimeoutError("the total time of the request is up") from error
            if isinstance(error, TimeoutError) or "timed out" in str(error):
                raise RequestTimeoutError("the server stopped sending") from error
            raise UnreachableError("the connection broke while reading") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
