"""Detecting file types by their first bytes."""

from __future__ import annotations

import io
import json
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_proxy.outputs.file_types import detect_file_type
from tests.support.images import encode_image, make_animation, make_photo

ACTIVE_TYPES = {
    "text/html; charset=utf-8",
    "image/svg+xml",
    "application/xml",
    "text/javascript",
    "application/pdf",
}
INLINE_TYPES = {
    *("image/png", "image/jpeg", "image/gif", "image/webp", "image/avif", "video/mp4", "video/webm"),
    *(
        "audio/mpeg",
        "audio/wav",
        "audio/ogg",
        "audio/flac",
        "audio/aac",
        "audio/mp4",
        "text/plain; charset=utf-8",
    ),
}


def make_zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.txt", "a")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        (encode_image(make_photo()), "image/png"),
        (encode_image(make_photo(), "JPEG"), "image/jpeg"),
        (encode_image(make_photo(), "WEBP"), "image/webp"),
        (encode_image(make_photo(), "AVIF"), "image/avif"),
        (encode_image(make_photo(), "GIF"), "image/gif"),
        (encode_image(make_photo(), "BMP"), "image/bmp"),
        (encode_image(make_photo(), "TIFF"), "image/tiff"),
        (make_animation(2, "AVIF"), "image/avif"),
        (b"\0\0\0\x18ftypisom\0\0\2\0isommp42", "video/mp4"),
        (b"\0\0\0\x14ftypqt  \0\0\0\0qt  ", "video/quicktime"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf", "image/avif"),
        (b"\0\0\0\x18ftypM4A \0\0\0\0M4A mp42", "audio/mp4"),
        (b"\x1a\x45\xdf\xa3\x01", "video/webm"),
        (b"RIFF\x24\0\0\0WAVEfmt ", "audio/wav"),
        (b"RIFF\x24\0\0\0AVI LIST", "video/x-msvideo"),
        (b"ID3\x04\0", "audio/mpeg"),
        (b"\xff\xfb\x90\x64\0", "audio/mpeg"),
        (b"\xff\xf1\x50\x80\0", "audio/aac"),
        (b"OggS\0", "audio/ogg"),
        (b"fLaC\0", "audio/flac"),
        (b"MThd\0\0\0\6", "audio/midi"),
        (b"%PDF-1.7\n", "application/pdf"),
        (make_zip(), "application/zip"),
        (b"\x1f\x8b\x08\0", "application/gzip"),
        (b"a.txt" + b"\0" * 252 + b"ustar\x0000", "application/x-tar"),
        (b"glTF\2\0\0\0", "model/gltf-binary"),
        (b"\x93NUMPY\1\0", "application/octet-stream"),
        (b'\x10\0\0\0\0\0\0\0{"a":{}}', "application/octet-stream"),
        (b'{"a": 1}', "application/json"),
        (b" [1, 2]", "application/json"),
        (b"1\n00:00:00,000 --> 00:00:01,000\nhello\n", "text/plain; charset=utf-8"),
        ("Ünï 日本".encode(), "text/plain; charset=utf-8"),
        (b"", "text/plain; charset=utf-8"),
        (b"<!DOCTYPE html><p>x", "text/html; charset=utf-8"),
        (b"\xef\xbb\xbf  <ScRiPt>alert(1)</script>", "text/html; charset=utf-8"),
        ("<script>alert(1)</script>".encode("utf-16"), "text/html; charset=utf-8"),
        (b"hello <iframe src=x>", "text/html; charset=utf-8"),
        (b'<svg xmlns="http://www.w3.org/2000/svg">', "image/svg+xml"),
        (b'<?xml version="1.0"?><!-- x --><svg:svg >', "image/svg+xml"),
        (b'<?xml version="1.0"?><a/>', "application/xml"),
        (b"\x00\x01\x02\x03\x04", "application/octet-stream"),
        (b"BM is how this text begins", "text/plain; charset=utf-8"),
    ],
)
def test_content_type_is_detected(content: bytes, content_type: str) -> None:
    assert detect_file_type(content).content_type == content_type


@pytest.mark.parametrize("tag", [b"<html>", b"<svg ", b"<script>", b"<body "])
@pytest.mark.parametrize("prefix", [b"", b"\n\n ", b"<!-- x -->", b"GIF8", b"text first, then "])
def test_markup_is_never_inline(tag: bytes, prefix: bytes) -> None:
    assert not detect_file_type(prefix + tag + b" onload=alert(1)>").is_inline


@given(st.binary(max_size=300))
def test_arbitrary_bytes_have_type_and_only_harmless_types_are_inline(content: bytes) -> None:
    file_type = detect_file_type(content)

    assert file_type.extension
    assert not file_type.is_inline or file_type.content_type in INLINE_TYPES
    assert file_type.content_type not in ACTIVE_TYPES or not file_type.is_inline


@given(
    st.sampled_from(
        [b"RIFF", b"\0\0\0\x18ftyp", b"\xff\xf1", b"\xff\xfb", b"BM", b"\xff\xfe", b"<?xml", b"PK"]
    ),
    st.binary(max_size=64),
)
def test_known_signature_with_arbitrary_rest_has_type(signature: bytes, rest: bytes) -> None:
    assert detect_file_type(signature + rest).content_type


@given(st.recursive(st.none() | st.integers() | st.text(), st.lists, max_leaves=5))
def test_json_with_markup_is_never_inline(value: object) -> None:
    content = json.dumps([value, "<script>x</script>"], ensure_ascii=False).encode()

    assert not detect_file_type(content).is_inline
