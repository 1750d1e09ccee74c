"""A response whose body is read in bounded pieces, and decompressed if it has to be."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Self

from urllib3.exceptions import HTTPError

from replicate_proxy.net.content_encoding import decode, parse_encodings
from replicate_proxy.net.errors import (
    RequestTimeoutError,
    ResponseTooLargeError,
    UnreachableError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import TracebackType

    import requests

    from replicate_proxy.net.deadline import SocketWatchdog


_CHUNK_BYTES = 256 * 1024
_CONTENT_LENGTH = re.compile(r"[0-9]{1,18}")


class GuardedResponse:
    """Status, headers (case-insensitive) and body. As a context manager, closes the connection."""

    def __init__(self, response: requests.Response, watchdog: SocketWatchdog, *, max_bytes: int) -> None:
        self._response = response
        self._watchdog = watchdog
        self._max_bytes = max_bytes
        self._body: bytes | None = None
        self.status = response.status_code
        self.headers: Mapping[str, str] = response.headers
        self._encodings = parse_encodings(self.headers.get("Content-Encoding", ""))

    @property
    def content_length(self) -> int | None:
        """The Content-Length header, None if it is missing or invalid."""
        text = self.headers.get("Content-Length", "")
        return int(text) if _CONTENT_LENGTH.fullmatch(text) else None

    def iter_chunks(self) -> Iterator[bytes]:
        """Yield the body in pieces, decompressed if `has_known_encoding`.

        Raises ResponseTooLargeError above `max_bytes`, as sent or decompressed, RequestTimeoutError, and
        UnreachableError if the body is incomplete.
        """
        decoded_bytes = 0
        for piece in self._decode(self._iter_sent_chunks()):
            decoded_bytes += len(piece)
            if decoded_bytes > self._max_bytes:
                raise ResponseTooLargeError(f"the body is larger than {self._max_bytes} bytes")
            yield piece

    def _iter_sent_chunks(self) -> Iterator[bytes]:
        """Yield the body as it was sent."""
        if (self.content_length or 0) > self._max_bytes:
            raise ResponseTooLargeError(f"the Content-Length is larger than {self._max_bytes} bytes")
        received_bytes = 0
        while chunk := self._read_chunk():
            received_bytes += len(chunk)
            if received_bytes > self._max_bytes:
                raise ResponseTooLargeError(f"the body is larger than {self._max_bytes} bytes")
            yield chunk
        if self._watchdog.deadline.has_passed:
            raise RequestTimeoutError("the total timeout of the request expired")
        if (
            self.content_length is not None
            and received_bytes < self.content_length
            and self._response.request.method != "HEAD"
        ):
            raise UnreachableError("the body is shorter than its Content-Length")

    @property
    def has_known_encoding(self) -> bool:
        """Whether the body is read decompressed; otherwise it is read as it was sent."""
        return self._encodings is not None

    def read(self) -> bytes:
        """Return the whole body, also when called again. Raises the errors of `iter_chunks`."""
        if self._body is None:
            self._body = b"".join(self.iter_chunks())
        return self._body

    def read_prefix(self, max_bytes: int) -> bytes:
        """Return the first `max_bytes` of the body, or what arrives of them before the connection breaks."""
        prefix = bytearray()
        try:
            for piece in self._decode(iter(self._read_chunk, b"")):
                prefix += piece
                if len(prefix) >= max_bytes:
                    break
        except (RequestTimeoutError, UnreachableError):
            return bytes(prefix[:max_bytes])
        return bytes(prefix[:max_bytes])

    def close(self) -> None:
        self._response.close()
        self._watchdog.close()

    def _decode(self, pieces: Iterator[bytes]) -> Iterator[bytes]:
        return decode(pieces, self._encodings or [])

    def _read_chunk(self) -> bytes:
        try:
            # read1 returns after one read of the socket, so that the limits are checked however slowly bytes
            # arrive.
            return bytes(self._response.raw.read1(_CHUNK_BYTES, decode_content=False))
        except (HTTPError, OSError) as error:
            if self._watchdog.deadline.has_passed:
                raise RequestTimeoutError("the total timeout of the request expired") from error
            if isinstance(error, TimeoutError) or "timed out" in str(error):
                raise RequestTimeoutError("the server stopped sending") from error
            raise UnreachableError("the connection broke while reading") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
