"""Decode the content encodings of responses in pieces of bounded size. No I/O.

Servers compress although they were asked not to, and label bodies with what is no content encoding: a
character set, or `aws-chunked`, which S3 keeps with objects that were uploaded so. The encodings are those of
RFC 9110, section 8.4.1.
"""

from __future__ import annotations

import zlib
from contextlib import suppress
from itertools import chain
from typing import TYPE_CHECKING

from replicate_proxy.net.errors import UnreachableError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


_MAX_PIECE_BYTES = 256 * 1024
_MAX_ENCODINGS = 2
_NO_ENCODINGS = frozenset({"", "identity", "none", "binary", "aws-chunked", "utf-8", "utf8", "us-ascii"})
_GZIP = frozenset({"gzip", "x-gzip"})
_GZIP_START = b"\x1f\x8b"
# Enough to tell whether a body is compressed.
_START_BYTES = 16
# The parameter `wbits` of zlib: gzip, zlib (which is "deflate" by the RFC), or raw, as some servers send it.
_GZIP_BITS, _ZLIB_BITS, _RAW_BITS = 31, 15, -15


def parse_encodings(header: str) -> list[str] | None:
    """Return the encodings that the header names, in the order in which they were applied.

    Returns None if one of them is not known, or if there are too many.
    """
    names = [name.strip().lower() for name in header.split(",")]
    encodings = [name for name in names if name not in _NO_ENCODINGS]
    is_known = all(name in _GZIP or name == "deflate" for name in encodings)
    return encodings if is_known and len(encodings) <= _MAX_ENCODINGS else None


def decode(pieces: Iterable[bytes], encodings: list[str]) -> Iterator[bytes]:
    """Yield the decoded body. Raises UnreachableError if it is broken.

    A body that is not compressed, whatever its header says, is returned as it is.
    """
    for encoding in reversed(encodings):
        pieces = _inflate(iter(pieces), is_gzip=encoding in _GZIP)
    yield from pieces


def _inflate(pieces: Iterator[bytes], *, is_gzip: bool) -> Iterator[bytes]:
    start = b""
    while len(start) < _START_BYTES and (piece := next(pieces, b"")):
        start += piece
    pieces = chain([start] if start else [], pieces)
    window_bits = _find_window_bits(start, is_gzip=is_gzip)
    if window_bits is None:
        yield from pieces
        return
    try:
        yield from _decompress(pieces, window_bits)
    except zlib.error as error:
        raise UnreachableError("the compressed body is broken") from error


def _find_window_bits(start: bytes, *, is_gzip: bool) -> int | None:
    """Return zlib's parameter for a body that starts so, or None if it is not compressed."""
    if is_gzip:
        return _GZIP_BITS if start.startswith(_GZIP_START) else None
    for window_bits in (_ZLIB_BITS, _RAW_BITS):
        with suppress(zlib.error):
            if start and zlib.decompressobj(window_bits).decompress(start, _MAX_PIECE_BYTES) is not None:
                return window_bits
    return None


def _decompress(pieces: Iterator[bytes], window_bits: int) -> Iterator[bytes]:
    decoder = zlib.decompressobj(window_bits)
    for piece in pieces:
        data = piece
        while data:
            if decoder.eof:
                # Another member of the same file (RFC 1952, section 2.2), or padding.
                data += b"" if len(data) >= len(_GZIP_START) else next(pieces, b"")
                if not data.startswith(_GZIP_START):
                    return
                decoder = zlib.decompressobj(window_bits)
            output = decoder.decompress(data, _MAX_PIECE_BYTES)
            while len(output) == _MAX_PIECE_BYTES:
                yield output
                output = decoder.decompress(decoder.unconsumed_tail, _MAX_PIECE_BYTES)
            yield output
            data = decoder.unused_data
    if not decoder.eof:
        raise UnreachableError("the compressed body is incomplete")
