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
    *(
        "image/png",
        "image/jpeg",
        "image/gif",
        "image/webp",
        "image/avif",
        "video/mp4",
        "video/webm",
        "video/ogg",
    ),
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


def make_safetensors(header_bytes: int) -> bytes:
    return header_bytes.to_bytes(8, "little") + b'{"a":{}}'.ljust(header_bytes)


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
        (b"PAR1 is the first part", "text/plain; charset=utf-8"),
        (b"GGUF is a format", "text/plain; charset=utf-8"),
        (b"MAC addresses", "text/plain; charset=utf-8"),
        (b"[Intro]\nThe night is long", "text/plain; charset=utf-8"),
        (b"{name} is a placeholder", "text/plain; charset=utf-8"),
        ("Ünï 日本".encode("utf-16"), "text/plain; charset=utf-8"),
        ("日本".encode("utf-16")[:-1], "text/plain; charset=utf-8"),
        (b"\xff\xfe\x00\x01\x02\x00", "application/octet-stream"),
        (b"\xff\xfe\x00\xdc\x00\xdc", "application/octet-stream"),
        (b"wOF2\0\1\0\0", "font/woff2"),
        (b"wOFF\0\1\0\0", "font/woff"),
        (b"OTTO\0\x0b", "font/otf"),
        (b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 10 +X 10\n", "image/vnd.radiance"),
        (b"qoif\0\0\0\x10", "image/qoi"),
        (b"v/1\1\2\0\0\0", "image/x-exr"),
        (b"\xff\x0a\x00", "image/jxl"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "image/jxl"),
        (b".snd\0\0\0\x18", "audio/basic"),
        (b"FORM\0\0\1\0AIFF", "audio/aiff"),
        (b"RF64\xff\xff\xff\xffWAVEds64", "audio/wav"),
        (b"GGUF\3\0\0\0", "application/octet-stream"),
        (b"GGUF", "application/octet-stream"),
        (b"PAR1\x15\x04", "application/vnd.apache.parquet"),
        (b"ARROW1\0\0", "application/vnd.apache.arrow.file"),
        (b"\x89HDF\r\n\x1a\n", "application/x-hdf5"),
        (b"SQLite format 3\0", "application/vnd.sqlite3"),
        (b"{\\rtf1\\ansi hello}", "application/rtf"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "image/heic"),
        (b"\0\0\0\x18ftypheim\0\0\0\0mif1heim", "image/heic"),
        (b"\0\0\0\x18ftyphevc\0\0\0\0msf1hevc", "image/heic-sequence"),
        (b"\0\0\0\x18ftypmsf1\0\0\0\0msf1hevc", "image/heic-sequence"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "image/heic"),
        (b"\0\0\0\x14ftypmif1\0\0\0\0mif1", "image/heif"),
        (b"\0\0\0\x18ftypM4B \0\0\0\0M4A mp42", "audio/mp4"),
        (b"\0\0\0\x18ftyp3gp4\0\0\0\0isom3gp4", "video/3gpp"),
        (b"\0\0\0\x18ftyp3g2a\0\0\0\0isom3g2a", "video/3gpp2"),
        (b"\0\0\0\x18ftypXAVC\0\0\0\0XAVCmp42", "video/mp4"),
        (b"\0\0\0\x14ftypwhat\0\0\0\0what", "application/octet-stream"),
        (b"\x1a\x45\xdf\xa3\x9f\x42\x86\x81\x01\x42\x82\x84webm", "video/webm"),
        (b"\x1a\x45\xdf\xa3\xa3\x42\x86\x81\x01\x42\x82\x88matroska", "video/x-matroska"),
        (b"OggS\0\2" + b"\0" * 22 + b"\x80theora", "video/ogg"),
        (b"FLV\1\5\0\0\0\x09", "video/x-flv"),
        ((b"G" + b"\1" * 187) * 4, "video/mp2t"),
        (b"\0\1\0\0ftypisom\0\0\2\0isommp42", "video/mp4"),
        (b"\0\1\0\0\0\x12\1\0", "font/ttf"),
        (b"\x7fELF\2\1\1\0", "application/octet-stream"),
        (b"\x80\x04\x95\x10\0", "application/octet-stream"),
    ],
)
def test_content_type_is_detected(content: bytes, content_type: str) -> None:
    assert detect_file_type(content).content_type == content_type


@pytest.mark.parametrize("tag", [b"<html>", b"<svg ", b"<script>", b"<body "])
@pytest.mark.parametrize("prefix", [b"", b"\n\n ", b"<!-- x -->", b"GIF8", b"text first, then "])
def test_markup_is_never_inline(tag: bytes, prefix: bytes) -> None:
    assert not detect_file_type(prefix + tag + b" onload=alert(1)>").is_inline


@pytest.mark.parametrize("header_bytes", [8, 256, 2815, 35_615, 65_536])
def test_safetensors_are_detected_whatever_the_size_of_their_header(header_bytes: int) -> None:
    """As little-endian numbers, the last four begin like a font, JPEG XL, gzip and an icon."""
    assert detect_file_type(make_safetensors(header_bytes)).extension == "safetensors"


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
