"""Content encodings: decoded in bounded pieces, whatever the pieces that arrive."""

from __future__ import annotations

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_proxy.net.content_encoding import decode, parse_encodings
from replicate_proxy.net.errors import UnreachableError

TEXT = b"some text, " * 1000


def deflate_raw(content: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(content) + compressor.flush()


ENCODED = {
    "identity": ([], TEXT),
    "gzip": (["gzip"], gzip.compress(TEXT)),
    "x-gzip": (["x-gzip"], gzip.compress(TEXT)),
    "zlib": (["deflate"], zlib.compress(TEXT)),
    "raw deflate": (["deflate"], deflate_raw(TEXT)),
    "two members": (["gzip"], gzip.compress(TEXT[:5000]) + gzip.compress(TEXT[5000:])),
    "padded": (["gzip"], gzip.compress(TEXT) + b"\0" * 100),
    "twice": (["gzip", "gzip"], gzip.compress(gzip.compress(TEXT))),
    "deflated, then gzip": (["deflate", "gzip"], gzip.compress(zlib.compress(TEXT))),
    "labeled only": (["gzip"], TEXT),
    "labeled twice": (["gzip", "gzip"], gzip.compress(TEXT)),
}


@pytest.mark.parametrize("piece_bytes", [1, 7, 100_000])
@pytest.mark.parametrize(("encodings", "body"), ENCODED.values(), ids=ENCODED.keys())
def test_decode_returns_the_content(encodings: list[str], body: bytes, piece_bytes: int) -> None:
    pieces = [body[start : start + piece_bytes] for start in range(0, len(body), piece_bytes)]
    assert b"".join(decode(pieces, encodings)) == TEXT


@pytest.mark.parametrize("encodings", [["gzip"], ["deflate"], ["gzip", "gzip"], []])
def test_decode_returns_nothing_for_an_empty_body(encodings: list[str]) -> None:
    assert b"".join(decode([], encodings)) == b""


@pytest.mark.parametrize(
    "body", [gzip.compress(TEXT)[:-20], gzip.compress(TEXT)[:12] + b"\xff" * 50], ids=["cut off", "corrupt"]
)
def test_decode_raises_when_the_body_is_broken(body: bytes) -> None:
    with pytest.raises(UnreachableError):
        list(decode([body], ["gzip"]))


def test_pieces_are_bounded_however_far_a_body_expands() -> None:
    bomb = gzip.compress(b"\0" * 50_000_000)
    sizes = [len(piece) for piece in decode([bomb], ["gzip"])]
    assert sum(sizes) == 50_000_000
    assert max(sizes) <= 256 * 1024


@given(st.binary(), st.sampled_from([["gzip"], ["deflate"], ["deflate", "gzip"]]))
def test_decode_raises_only_its_own_error(body: bytes, encodings: list[str]) -> None:
    for content in (body, b"\x1f\x8b\x08" + body, b"\x78\x9c" + body):
        try:
            list(decode([content], encodings))
        except UnreachableError:
            continue


@pytest.mark.parametrize(
    ("header", "encodings"),
    [
        ("", []),
        ("identity", []),
        ("utf-8", []),
        ("UTF-8, aws-chunked", []),
        ("gzip", ["gzip"]),
        (" GZip ,identity", ["gzip"]),
        ("aws-chunked,gzip", ["gzip"]),
        ("deflate, gzip", ["deflate", "gzip"]),
        ("br", None),
        ("gzip, br", None),
        ("zstd", None),
        ("compress", None),
        ("x", None),
        ("gzip, gzip, gzip", None),
    ],
)
def test_parse_encodings(header: str, encodings: list[str] | None) -> None:
    assert parse_encodings(header) == encodings
