"""What people put into an image beside pixels: the models' own texts are kept for the record, the rest is
dropped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from PIL import ExifTags, Image

if TYPE_CHECKING:
    from collections.abc import Iterator


_EXIF_TEXTS = {
    ExifTags.Base.ImageDescription: "exif:ImageDescription",
    ExifTags.Base.Software: "exif:Software",
    ExifTags.Base.Make: "exif:Make",
    ExifTags.Base.Model: "exif:Model",
}
# Image generators other than PNG writers keep prompt and seed in the EXIF user comment.
_USER_COMMENT = ExifTags.Base.UserComment
_CHARSET_BYTES = 8
_ORIENTATIONS = frozenset(range(1, 9))
_LONGEST_NAME = 80
_CUT = "… (cut)"


def extract_text(image: Image.Image, *, max_bytes: int) -> dict[str, str]:
    """PNG text chunks (prompt, seed, workflow), comments and EXIF descriptions, together at most `max_bytes`
    of UTF-8.

    What does not fit is cut and says so. Called after the image was loaded, since PNG texts may follow the
    pixels.
    """
    kept: dict[str, str] = {}
    left = max_bytes
    for full_name, text in _texts(image):
        name = full_name[:_LONGEST_NAME]
        room = left - len(name.encode())
        if room <= len(_CUT.encode()) or name in kept:
            continue
        kept[name] = _cut(text, room)
        left = room - len(kept[name].encode())
    return kept


def build_copyright_exif(image: Image.Image) -> bytes:
    """An EXIF block with nothing but copyright and artist of the source, empty where it names neither."""
    source = image.getexif()
    kept = Image.Exif()
    for tag in (ExifTags.Base.Copyright, ExifTags.Base.Artist):
        if value := source.get(tag):
            kept[tag] = value
    return kept.tobytes() if len(kept) else b""


def read_orientation(image: Image.Image) -> int:
    """EXIF orientation 1–8, 1 where nothing sensible is said."""
    value = image.getexif().get(ExifTags.Base.Orientation, 1)
    return value if value in _ORIENTATIONS else 1


def _texts(image: Image.Image) -> Iterator[tuple[str, str]]:
    for name, value in getattr(image, "text", {}).items():
        yield str(name), _clean(value)
    if comment := image.info.get("comment"):
        yield "comment", _clean(comment)
    exif = image.getexif()
    for tag, name in _EXIF_TEXTS.items():
        if value := exif.get(tag):
            yield name, _clean(value)
    if value := exif.get_ifd(ExifTags.IFD.Exif).get(_USER_COMMENT):
        yield "exif:UserComment", _user_comment(value)


def _user_comment(value: object) -> str:
    """EXIF 2.3, UserComment: eight bytes name the character set."""
    if not isinstance(value, bytes):
        return _clean(value)
    charset, body = value[:_CHARSET_BYTES].rstrip(b"\0"), value[_CHARSET_BYTES:]
    if charset == b"UNICODE":
        even = body[1:2] == b"\0"
        return _clean(body.decode("utf-16-le" if even else "utf-16-be", "replace"))
    return _clean(body if charset in {b"ASCII", b""} else value)


def _clean(value: object) -> str:
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    return text.replace("\0", "").encode("utf-8", "replace").decode().strip()


def _cut(text: str, room: int) -> str:
    raw = text.encode()
    return text if len(raw) <= room else raw[: room - len(_CUT.encode())].decode("utf-8", "ignore") + _CUT
