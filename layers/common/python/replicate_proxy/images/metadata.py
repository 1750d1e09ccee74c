"""Read an image's metadata: texts for the file's record, copyright and orientation for the stored file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PIL import ExifTags, Image

if TYPE_CHECKING:
    from collections.abc import Iterator


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


def extract_text(image: Image.Image, *, max_bytes: int) -> dict[str, str]:
    """Return PNG text chunks (prompt, seed, workflow), comments and EXIF descriptions by name.

    Names and texts together have at most `max_bytes` of UTF-8; longer texts are truncated and marked. The
    image has to be loaded, since PNG texts may follow the pixels.
    """
    texts: dict[str, str] = {}
    remaining_bytes = max_bytes
    for full_name, text in _read_texts(image):
        name = full_name[:_MAX_NAME_CHARACTERS]
        max_text_bytes = remaining_bytes - len(name.encode())
        if max_text_bytes <= len(_TRUNCATION_MARK.encode()) or name in texts:
            continue
        texts[name] = _truncate(text, max_text_bytes)
        remaining_bytes = max_text_bytes - len(texts[name].encode())
    return texts


def build_copyright_exif(image: Image.Image) -> bytes:
    """Return an EXIF block with only the source's copyright and artist, empty if it has neither."""
    source = image.getexif()
    exif = Image.Exif()
    for tag in (ExifTags.Base.Copyright, ExifTags.Base.Artist):
        if value := source.get(tag):
            exif[tag] = value
    return exif.tobytes() if len(exif) else b""


def read_orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1–8; 1 (upright) if it is missing or invalid."""
    value = image.getexif().get(ExifTags.Base.Orientation, 1)
    return value if value in _ORIENTATIONS else 1


def _read_texts(image: Image.Image) -> Iterator[tuple[str, str]]:
    for name, value in getattr(image, "text", {}).items():
        yield str(name), _clean(value)
    if comment := image.info.get("comment"):
        yield "comment", _clean(comment)
    exif = image.getexif()
    for tag, name in _EXIF_TEXT_TAGS.items():
        if value := exif.get(tag):
            yield name, _clean(value)
    # Image generators that do not write PNG put prompt and seed here.
    if value := exif.get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.UserComment):
        yield "exif:UserComment", _decode_user_comment(value)


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
