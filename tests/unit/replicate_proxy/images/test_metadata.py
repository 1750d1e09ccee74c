"""What is read of metadata, and what metadata of any kind must not do to an image."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

import pytest
from PIL import Image, ImageCms

from replicate_proxy.images.containers import png
from replicate_proxy.images.metadata import read_metadata
from replicate_proxy.images.task import ImageLimits, ImageOutcome
from tests.support.avif import EXIF, AvifFile, MetadataItem
from tests.support.images import SECRET, Pipeline, encode_image, make_photo, write_file

if TYPE_CHECKING:
    from pathlib import Path

ORIENTATION = 0x0112
XMP = (
    b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF>'
    b'<rdf:Description tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
)


def build_tiff(*entries: tuple[int, int, int, bytes]) -> bytes:
    """Return a TIFF file of one directory; entries are tag, type, count and four bytes of value."""
    table = b"".join(struct.pack(">HHI", tag, kind, count) + value for tag, kind, count, value in entries)
    return b"MM\0*\0\0\0\x08" + struct.pack(">H", len(entries)) + table + b"\0\0\0\0"


UPRIGHT = build_tiff((ORIENTATION, 3, 1, b"\0\x06\0\0"))
BROKEN_EXIF = {
    "no TIFF": b"neither here nor there",
    "empty": b"",
    "doubled header": b"Exif\0\0Exif\0\0" + UPRIGHT,
    "truncated": UPRIGHT[:12],
    "many entries": b"MM\0*\0\0\0\x08\xff\xff" + b"\0" * 40,
    "endless": b"MM\0*\0\0\0\x08\0\0\0\0\0\x08",
    "orientation as text": build_tiff((ORIENTATION, 2, 4, b"six\0")),
    "orientation as bytes": build_tiff((ORIENTATION, 7, 4, b"\6\0\0\0")),
    "orientation of nothing": build_tiff((ORIENTATION, 3, 0, b"\0\0\0\0")),
    "orientation as two numbers": build_tiff((ORIENTATION, 3, 2, b"\0\x06\0\x06")),
    "orientation of unknown type": build_tiff((ORIENTATION, 99, 1, b"\0\x06\0\0")),
    "copyright as number": build_tiff((0x8298, 3, 1, b"\0\x06\0\0")),
    "directory as text": build_tiff((0x8769, 2, 4, b"abc\0")),
    "directory beyond the end": build_tiff(
        (0x8769, 4, 1, b"\x7f\xff\xff\xff"), (0x8825, 4, 1, b"\xff\xff\xff\xff")
    ),
}


def add_exif(content: bytes, exif: bytes) -> bytes:
    """Add the block to a PNG, JPEG or WebP file by hand, as Pillow writes no broken ones."""
    if content.startswith(b"\x89PNG"):
        return content[:33] + png.build_chunk(b"eXIf", exif) + content[33:]
    if content.startswith(b"\xff\xd8"):
        body = b"Exif\0\0" + exif
        return content[:2] + struct.pack(">HH", 0xFFE1, len(body) + 2) + body + content[2:]
    assert content[12:16] == b"VP8X"
    flags = bytes((content[20] | 0x08,))
    chunk = b"EXIF" + struct.pack("<I", len(exif)) + exif + b"\0" * (len(exif) % 2)
    body = content[8:20] + flags + content[21:] + chunk
    return b"RIFF" + struct.pack("<I", len(body)) + body


def make_source(format_name: str) -> bytes:
    if format_name == "WEBP":
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        return encode_image(make_photo(200, 120), "WEBP", lossless=True, icc_profile=profile)
    return encode_image(
        make_photo(200, 120), format_name, **({"quality": 98} if format_name == "JPEG" else {})
    )


@pytest.mark.parametrize("exif", BROKEN_EXIF.values(), ids=BROKEN_EXIF)
@pytest.mark.parametrize("format_name", ["PNG", "JPEG", "WEBP"])
def test_image_with_broken_exif_is_compressed(pipeline: Pipeline, format_name: str, exif: bytes) -> None:
    result = pipeline.run(add_exif(make_source(format_name), exif))

    assert result.outcome is ImageOutcome.COMPRESSED
    assert (result.width, result.height) in {(200, 120), (120, 200)}


@pytest.mark.parametrize("exif", [exif for exif in BROKEN_EXIF.values() if exif])
def test_avif_with_broken_exif_is_decoded(pipeline: Pipeline, exif: bytes) -> None:
    still = encode_image(make_photo(200, 120), "AVIF", quality=98, speed=10)
    content = AvifFile(still, (MetadataItem(EXIF, (b"\0\0\0\0" + exif,)),)).build()

    result = pipeline.run(content)

    assert result.outcome is ImageOutcome.COMPRESSED


@pytest.mark.parametrize("format_name", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("exif", [UPRIGHT, b"Exif\0\0" + UPRIGHT, BROKEN_EXIF["doubled header"]])
def test_orientation_is_applied(pipeline: Pipeline, format_name: str, exif: bytes) -> None:
    result = pipeline.run(add_exif(make_source(format_name), exif))

    assert (result.width, result.height) == (120, 200)


@pytest.mark.parametrize("format_name", ["PNG", "JPEG", "WEBP", "AVIF"])
def test_orientation_in_xmp_is_ignored_as_browsers_do(pipeline: Pipeline, format_name: str) -> None:
    photo = make_photo(200, 120)
    if format_name == "PNG":
        source = encode_image(photo)
        text = b"XML:com.adobe.xmp\0\0\0\0\0" + XMP
        content = source[:33] + png.build_chunk(b"iTXt", text) + source[33:]
    else:
        content = encode_image(photo, format_name, quality=98, xmp=XMP)
    assert XMP in content

    result = pipeline.run(content)

    assert (result.width, result.height) == (200, 120)


def test_orientation_in_text_chunk_is_ignored_as_browsers_do(pipeline: Pipeline) -> None:
    source = encode_image(make_photo(200, 120))
    block = b"Exif\0\0" + UPRIGHT
    text = b"Raw profile type exif\0\nexif\n%8d\n" % len(block) + block.hex().encode() + b"\n"

    result = pipeline.run(source[:33] + png.build_chunk(b"tEXt", text) + source[33:])

    assert (result.width, result.height) == (200, 120)


@pytest.mark.parametrize(
    "chunk",
    [
        png.build_chunk(b"zTXt", b"bomb\0\0" + zlib.compress(b"x" * 3_000_000)),
        png.build_chunk(b"iTXt", b"bomb\0\1\0\0\0" + zlib.compress(b"x" * 40_000_000)),
        png.build_chunk(b"tEXt", b"long\0" + b"x" * 6_000_000),
        png.build_chunk(b"zTXt", b"broken\0\0" + b"not compressed"),
        png.build_chunk(b"zTXt", b"method\0\7" + zlib.compress(b"x")),
        png.build_chunk(b"iCCP", b"large\0\0" + zlib.compress(bytes(3_000_000))),
        png.build_chunk(b"iCCP", b"bomb\0\0" + zlib.compress(bytes(40_000_000))),
        png.build_chunk(b"iCCP", b"method\0\7nothing"),
        png.build_chunk(b"gAMA", b"\0"),
        png.build_chunk(b"cHRM", b"\0" * 32),
        png.build_chunk(b"pHYs", b""),
        png.build_chunk(b"tEXt", b"key\0text")[:-1] + b"\0",
    ],
    ids=lambda chunk: chunk[4:8].decode() + str(len(chunk)),
)
def test_png_with_large_or_broken_metadata_is_compressed(pipeline: Pipeline, chunk: bytes) -> None:
    source = encode_image(make_photo(200, 120))

    result = pipeline.run(source[:33] + chunk + source[33:])

    assert result.outcome is ImageOutcome.COMPRESSED


def test_png_with_wrong_checksum_of_header_is_broken(pipeline: Pipeline) -> None:
    source = bytearray(encode_image(make_photo(200, 120)))
    source[29] ^= 1

    assert pipeline.run(bytes(source)).reason == "broken"


def test_text_of_compressed_bomb_is_truncated(pipeline: Pipeline) -> None:
    source = encode_image(make_photo(200, 120))
    chunk = png.build_chunk(b"zTXt", b"bomb\0\0" + zlib.compress(b"x" * 3_000_000))

    result = pipeline.run(source[:33] + chunk + source[33:], limits=ImageLimits(max_text_bytes=1000))

    assert result.text["bomb"].startswith("xxx")
    assert len(result.text["bomb"]) < 1000


@pytest.mark.parametrize("format_name", ["JPEG", "GIF"])
def test_comment_is_in_result(pipeline: Pipeline, format_name: str) -> None:
    content = encode_image(make_photo(200, 120), format_name, comment=SECRET * 30)

    result = pipeline.run(content)

    assert result.text == {"comment": (SECRET * 30).decode()}


def test_text_after_pixels_is_in_result(pipeline: Pipeline) -> None:
    source = encode_image(make_photo(200, 120))
    chunk = png.build_chunk(b"tEXt", b"prompt\0a caf\xe9")

    assert pipeline.run(source[:-12] + chunk + source[-12:]).text == {"prompt": "a café"}


def test_metadata_of_other_file_is_empty(tmp_path: Path) -> None:
    for content in (b"", b"text", b"\xff\xd8\xff", b"GIF89a", b"\0\0\0\x18ftypavif"):
        metadata = read_metadata(write_file(tmp_path, content))
        assert not metadata.exif
        assert metadata.texts == ()
        assert metadata.orientation == 1


def test_copyright_of_wrong_type_is_dropped(tmp_path: Path) -> None:
    content = add_exif(make_source("PNG"), BROKEN_EXIF["copyright as number"])

    assert read_metadata(write_file(tmp_path, content)).build_exif(keep_copyright=True) == b""


def test_kept_exif_has_copyright_and_orientation(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x8298], exif[0x013B], exif[ORIENTATION], exif[0x010E] = "(c) me", "me", 6, SECRET.decode()
    content = encode_image(make_photo(), exif=exif)

    kept = Image.Exif()
    kept.load(
        read_metadata(write_file(tmp_path, content)).build_exif(keep_copyright=True, keep_orientation=True)
    )

    assert dict(kept) == {0x8298: "(c) me", 0x013B: "me", ORIENTATION: 6}
