"""GIF without its metadata: GIF89a specification, blocks (sections 17 to 27)."""

from __future__ import annotations

from typing import Final

from replicate_proxy.images.stripping.errors import UnknownStructureError

__all__ = ["strip_gif"]

_HEADER_BYTES: Final = 13
_SCREEN_FLAGS: Final = 10
_IMAGE_FLAGS: Final = 9
_HAS_PALETTE, _PALETTE_BITS = 0x80, 0x07
_PLAIN_TEXT, _GRAPHIC_CONTROL, _COMMENT, _APPLICATION = 0x01, 0xF9, 0xFE, 0xFF
_NETSCAPE: Final = b"NETSCAPE2.0"
# How often it is repeated, under two names, and its colour profile. XMP stands among these as well, and goes.
_KEPT_APPLICATIONS: Final = frozenset({_NETSCAPE, b"ANIMEXTS1.0", b"ICCRGBG1012"})


def strip_gif(source: bytes) -> bytes:
    """The screen, every image with its timing, the loop and the colour profile; ends at the trailer.

    GIF has no place for EXIF, hence none for a copyright of its own. Bytes between the blocks that begin none
    are left out, as decoders leave them out. Raises IndexError for a file that ends within a header,
    UnknownStructureError where decoders do not agree on what a block is.
    """
    at = _HEADER_BYTES + _palette_bytes(source[_SCREEN_FLAGS])
    parts = [source[:at]]
    while at < len(source):
        start, kept = at, False
        match source[at]:
            case 0x21:  # an extension
                if _reads_differently(source, start):
                    raise UnknownStructureError
                at, kept = _end_of_data(source, start + 2), _is_kept(source, start)
            case 0x2C:  # an image
                palette = _palette_bytes(source[start + _IMAGE_FLAGS])
                # One byte between descriptor and data tells the LZW code size.
                at, kept = _end_of_data(source, start + _IMAGE_FLAGS + 1 + palette + 1), True
            case 0x3B:  # the trailer
                return b"".join([*parts, source[start : start + 1]])
            case _:
                at = start + 1
        if kept:
            parts.append(source[start:at])
    return b"".join(parts)


def _palette_bytes(flags: int) -> int:
    return 3 << ((flags & _PALETTE_BITS) + 1) if flags & _HAS_PALETTE else 0


def _end_of_data(source: bytes, at: int) -> int:
    """Behind the sub-blocks that begin here, each a length and as many bytes, ended by an empty one.

    XMP does not keep to that but ends in 258 bytes chosen so that this way of reading gets across it
    (XMP specification part 3, GIF).
    """
    while at < len(source) and source[at]:
        at += 1 + source[at]
    return at + 1


def _reads_differently(source: bytes, at: int) -> bool:
    """An extension without content: some decoders (Pillow) take what follows it for its content."""
    label, size = source[at + 1], source[at + 2]
    if label == _COMMENT:
        return False
    name = source[at + 3 : at + 3 + size]
    return not name or (name.startswith(_NETSCAPE) and not source[at + 3 + size])


def _is_kept(source: bytes, at: int) -> bool:
    label = source[at + 1]
    if label == _APPLICATION:
        return source[at + 3 : at + 14] in _KEPT_APPLICATIONS
    return label in {_PLAIN_TEXT, _GRAPHIC_CONTROL}
