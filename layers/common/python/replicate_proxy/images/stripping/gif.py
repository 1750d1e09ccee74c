"""Remove metadata from GIF files. The structure is that of the GIF89a specification, sections 17 to 27."""

from __future__ import annotations

from typing import Final

from replicate_proxy.images.stripping import UnknownStructureError

_HEADER_BYTES: Final = 13
# Offsets of the flags: in the header, and in an image descriptor.
_SCREEN_FLAGS_OFFSET: Final = 10
_IMAGE_FLAGS_OFFSET: Final = 9
_HAS_COLOR_TABLE, _COLOR_TABLE_SIZE_BITS = 0x80, 0x07
_EXTENSION, _IMAGE, _TRAILER = 0x21, 0x2C, 0x3B
_PLAIN_TEXT, _GRAPHIC_CONTROL, _COMMENT, _APPLICATION = 0x01, 0xF9, 0xFE, 0xFF
_NETSCAPE: Final = b"NETSCAPE2.0"
# Loop count, under two names, and color profile. XMP is another application extension, and is removed.
_KEPT_APPLICATIONS: Final = frozenset({_NETSCAPE, b"ANIMEXTS1.0", b"ICCRGBG1012"})


def strip_gif(source: bytes) -> bytes:
    """Return screen, images with their timing, loop count and color profile, up to the trailer.

    Bytes between blocks that begin no block are removed, as decoders ignore them. Raises IndexError for a
    file that ends within a header, UnknownStructureError where decoders disagree about a block.
    """
    position = _HEADER_BYTES + _read_color_table_bytes(source[_SCREEN_FLAGS_OFFSET])
    kept_blocks = [source[:position]]
    while position < len(source):
        start, is_kept = position, False
        kind = source[start]
        if kind == _EXTENSION:
            if _is_ambiguous(source, start):
                raise UnknownStructureError
            position = _find_data_end(source, start + 2)
            is_kept = _is_kept_extension(source, start)
        elif kind == _IMAGE:
            table_bytes = _read_color_table_bytes(source[start + _IMAGE_FLAGS_OFFSET])
            # One byte between the color table and the data is the LZW code size.
            position = _find_data_end(source, start + _IMAGE_FLAGS_OFFSET + 1 + table_bytes + 1)
            is_kept = True
        elif kind == _TRAILER:
            return b"".join([*kept_blocks, source[start : start + 1]])
        else:
            position = start + 1
        if is_kept:
            kept_blocks.append(source[start:position])
    return b"".join(kept_blocks)


def _read_color_table_bytes(flags: int) -> int:
    return 3 << ((flags & _COLOR_TABLE_SIZE_BITS) + 1) if flags & _HAS_COLOR_TABLE else 0


def _find_data_end(source: bytes, position: int) -> int:
    """Return the position after the sub-blocks: each a length and as many bytes, the last one empty.

    XMP does not consist of sub-blocks, but ends in 258 bytes chosen so that this way of reading also finds
    its end (XMP specification part 3, GIF).
    """
    while position < len(source) and source[position]:
        position += 1 + source[position]
    return position + 1


def _is_ambiguous(source: bytes, start: int) -> bool:
    """Return whether the extension is empty.

    Some decoders (Pillow) then take the bytes that follow for its content.
    """
    label, size = source[start + 1], source[start + 2]
    if label == _COMMENT:
        return False
    name = source[start + 3 : start + 3 + size]
    return not name or (name.startswith(_NETSCAPE) and not source[start + 3 + size])


def _is_kept_extension(source: bytes, start: int) -> bool:
    label = source[start + 1]
    if label == _APPLICATION:
        return source[start + 3 : start + 14] in _KEPT_APPLICATIONS
    return label in {_PLAIN_TEXT, _GRAPHIC_CONTROL}
