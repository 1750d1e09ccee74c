"""Read an image's metadata from its file: EXIF, and texts for the file's record.

It is read from the structure of the file, not by the decoder, so that metadata of any kind neither keeps an
image from being decoded nor needs it to be decoded.
"""

from __future__ import annotations

import contextlib
import mmap
import struct
import warnings
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from PIL import ExifTags, Image

from replicate_proxy.images.containers import UnknownStructureError, avif, detect_format, gif, jpeg, png, webp
from replicate_proxy.images.decoder_errors import DECODER_ERRORS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from replicate_proxy.images.containers import Source


_EXIF_TEXT_TAGS = {
    ExifTags.Base.ImageDescription: "exif:ImageDescription",
    ExifTags.Base.Software: "exif:Software",
    ExifTags.Base.Make: "exif:Make",
    ExifTags.Base.Model: "exif:Model",
}
_CHARSET_BYTES = 8
_ORIENTATIONS = frozenset(range(1, 9))
_MAX_NAME_CHARACTERS = 80
_TRUNCATION_MARK = "… (cut)"
# Far more than of any text is shown, and than any EXIF block of use has.
_MAX_READ_BYTES = 1024 * 1024
_EXIF_HEADER = b"Exif\0\0"
_JPEG_EXIF, _JPEG_COMMENT = 0xE1, 0xFE
_GIF_COMMENT = 0xFE


@dataclass(frozen=True)
class ImageMetadata:
    """An image's EXIF, empty if there is none that can be parsed, and its other texts by name."""

    exif: Image.Exif = field(default_factory=Image.Exif)
    texts: tuple[tuple[str, bytes], ...] = ()

    @property
    def orientation(self) -> int:
        """The EXIF orientation, 1–8; 1 (upright) if it is missing or invalid.

        That of XMP does not count, as browsers ignore it.
        """
        value = _get(self.exif, ExifTags.Base.Orientation)
        return value if isinstance(value, int) and value in _ORIENTATIONS else 1

    def build_exif(self, *, keep_copyright: bool, keep_orientation: bool = False) -> bytes:
        """Return an EXIF block with only what is to be kept, empty if the source has nothing of that."""
        exif = Image.Exif()
        if keep_copyright:
            for tag in (ExifTags.Base.Copyright, ExifTags.Base.Artist):
                if isinstance(value := _get(self.exif, tag), str) and value:
                    exif[tag] = value
        if keep_orientation and self.orientation > 1:
            exif[ExifTags.Base.Orientation] = self.orientation
        return exif.tobytes() if len(exif) else b""

    def extract_text(self, *, max_bytes: int) -> dict[str, str]:
        """Return PNG texts (prompt, seed, workflow), comments and EXIF descriptions by name.

        Names and texts together have at most `max_bytes` of UTF-8; longer texts are truncated and marked.
        """
        texts: dict[str, str] = {}
        remaining_bytes = max_bytes
        for full_name, text in (
            *((name, _clean(text)) for name, text in self.texts),
            *_read_exif_texts(self.exif),
        ):
            name = full_name[:_MAX_NAME_CHARACTERS]
            max_text_bytes = remaining_bytes - len(name.encode())
            if not text or max_text_bytes <= len(_TRUNCATION_MARK.encode()) or name in texts:
                continue
            texts[name] = _truncate(text, max_text_bytes)
            remaining_bytes = max_text_bytes - len(texts[name].encode())
        return texts


def read_metadata(path: Path) -> ImageMetadata:
    """Return what can be read of the file's metadata. What precedes an error in its structure is used."""
    exif = b""
    texts: list[tuple[str, bytes]] = []
    if not path.stat().st_size:
        return ImageMetadata()
    with path.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as source:
        reader = _READERS.get(detect_format(source))
        with contextlib.suppress(IndexError, struct.error, UnknownStructureError):
            for name, content in reader(source) if reader else ():
                if name:
                    texts.append((name, content))
                else:
                    exif = exif or content
    return ImageMetadata(_parse_exif(exif), tuple(texts))


def _parse_exif(block: bytes) -> Image.Exif:
    exif = Image.Exif()
    while block.startswith(_EXIF_HEADER):
        block = block.removeprefix(_EXIF_HEADER)
    try:
        with _ignore_warnings():
            exif.load(block)
    except DECODER_ERRORS:
        return Image.Exif()
    return exif


def _get(exif: Image.Exif, tag: int) -> Any:
    """Return the tag's value, None for one that is missing or of a wrong type."""
    try:
        with _ignore_warnings():
            return exif.get(tag)
    except DECODER_ERRORS:
        return None


@contextlib.contextmanager
def _ignore_warnings() -> Iterator[None]:
    """Keep Pillow from warning of EXIF that it can read only in part."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


# Readers: each yields EXIF blocks under the name "", and texts under their names.

type _Entry = tuple[str, bytes]


def _read_jpeg(source: Source) -> Iterator[_Entry]:
    for segment in jpeg.read_segments(source):
        body = source[segment.body : segment.end] if segment.marker != jpeg.START_OF_SCAN else b""
        if segment.marker == _JPEG_EXIF and body.startswith(_EXIF_HEADER):
            yield "", body
        elif segment.marker == _JPEG_COMMENT:
            yield "comment", body


def _read_png(source: Source) -> Iterator[_Entry]:
    for chunk in png.read_chunks(source):
        if chunk.name not in {b"eXIf", b"tEXt", b"zTXt", b"iTXt"}:
            continue
        body = source[chunk.body : min(chunk.body_end, chunk.body + _MAX_READ_BYTES)]
        if chunk.name == b"eXIf":
            yield "", body
            continue
        name, _, text = body.partition(b"\0")
        if chunk.name == b"zTXt":
            # One byte names the method.
            text = _decompress(text[1:])
        elif chunk.name == b"iTXt":
            is_compressed = text[:1] == b"\1"
            text = text[2:].partition(b"\0")[2].partition(b"\0")[2]
            text = _decompress(text) if is_compressed else text
        if chunk.name != b"iTXt":
            text = text.decode("latin-1").encode()
        if name:
            yield name.decode("latin-1"), text


def _decompress(data: bytes) -> bytes:
    """Return at most the start of the content: a small chunk may decompress to gigabytes."""
    try:
        return zlib.decompressobj().decompress(data, _MAX_READ_BYTES)
    except zlib.error:
        return b""


def _read_webp(source: Source) -> Iterator[_Entry]:
    for chunk in webp.read_chunks(source):
        if chunk.name == b"EXIF":
            yield "", source[chunk.start + webp.CHUNK_HEADER_BYTES : chunk.end]


def _read_gif(source: Source) -> Iterator[_Entry]:
    for block in gif.read_blocks(source):
        if block.label == _GIF_COMMENT:
            yield "comment", b"".join(gif.read_sub_blocks(source, block.start + 2, block.end))


def _read_avif(source: Source) -> Iterator[_Entry]:
    for item in avif.read_file_items(source):
        if item.kind == b"Exif":
            content = b"".join(source[start:end] for start, end in item.ranges)
            # ISO/IEC 23008-12, annex A.2.1: the distance to the TIFF header.
            yield "", content[4 + int.from_bytes(content[:4]) :]


_READERS: dict[str, Callable[[Source], Iterator[_Entry]]] = {
    "jpeg": _read_jpeg,
    "png": _read_png,
    "webp": _read_webp,
    "gif": _read_gif,
    "avif": _read_avif,
}


def _read_exif_texts(exif: Image.Exif) -> Iterator[tuple[str, str]]:
    for tag, name in _EXIF_TEXT_TAGS.items():
        if value := _get(exif, tag):
            yield name, _clean(value)
    try:
        with _ignore_warnings():
            comment = exif.get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.UserComment)
    except DECODER_ERRORS:
        return
    # Image generators that do not write PNG put prompt and seed here.
    if comment:
        yield "exif:UserComment", _decode_user_comment(comment)


def _decode_user_comment(value: object) -> str:
    """Decode by the character set that the first eight bytes name (EXIF 2.3, UserComment)."""
    if not isinstance(value, bytes):
        return _clean(value)
    charset, body = value[:_CHARSET_BYTES].rstrip(b"\0"), value[_CHARSET_BYTES:]
    if charset == b"UNICODE":
        is_little_endian = body[1:2] == b"\0"
        return _clean(body.decode("utf-16-le" if is_little_endian else "utf-16-be", "replace"))
    return _clean(body if charset in {b"ASCII", b""} else value)


def _clean(value: object) -> str:
    """Return the value as text without null characters and lone surrogates."""
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return text.replace("\0", "").encode("utf-8", "replace").decode().strip()


def _truncate(text: str, max_bytes: int) -> str:
    encoded = text.encode()
    if len(encoded) <= max_bytes:
        return text
    return encoded[: max_bytes - len(_TRUNCATION_MARK.encode())].decode("utf-8", "ignore") + _TRUNCATION_MARK
