"""Remove metadata from GIF files. The blocks are those of the GIF89a specification, sections 17 to 27."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from replicate_proxy.images.containers import UnknownStructureError, gif
from replicate_proxy.images.stripping.parts import StrippedFile

if TYPE_CHECKING:
    from replicate_proxy.images.containers import Source
    from replicate_proxy.images.containers.gif import Block
    from replicate_proxy.images.stripping.parts import Part


_PLAIN_TEXT, _GRAPHIC_CONTROL, _COMMENT = 0x01, 0xF9, 0xFE
# XMP is another application extension, and is removed.
_COLOR_PROFILE: Final = b"ICCRGBG1012"
# An extension with the loop count: its header, and one sub-block of three bytes.
_LOOP_EXTENSION_BYTES: Final = 3 + gif.APPLICATION_NAME_BYTES + 4


def strip_gif(source: Source) -> StrippedFile:
    """Return screen, images with their timing, loop count and color profile, up to the trailer.

    Bytes between blocks that begin no block are removed, as decoders ignore them. Raises IndexError for a
    file that ends within a header, UnknownStructureError where decoders disagree about a block.
    """
    parts: list[Part] = [(0, gif.find_header_end(source))]
    for block in gif.read_blocks(source):
        if block.kind in {gif.IMAGE, gif.TRAILER}:
            parts.append((block.start, block.end))
        elif block.kind == gif.EXTENSION:
            parts.extend(_select(source, block))
    return StrippedFile(tuple(parts))


def _select(source: Source, extension: Block) -> list[Part]:
    """Return what is kept of the extension."""
    if _is_ambiguous(source, extension):
        raise UnknownStructureError
    name = extension.read_application_name(source)
    if name in gif.LOOP_APPLICATIONS:
        loop_end = extension.start + _LOOP_EXTENSION_BYTES
        if loop_end + 1 < extension.end:
            # Further sub-blocks: no decoder uses them.
            return [(extension.start, loop_end), b"\0"]
    elif name != _COLOR_PROFILE and extension.label not in {_PLAIN_TEXT, _GRAPHIC_CONTROL}:
        return []
    return [(extension.start, extension.end)]


def _is_ambiguous(source: Source, extension: Block) -> bool:
    """Return whether the extension is empty.

    Some decoders (Pillow) then take the bytes that follow for its content.
    """
    start = extension.start
    if extension.label == _COMMENT:
        return False
    size = source[start + 2]
    name = source[start + 3 : start + 3 + size]
    return not name or (name.startswith(b"NETSCAPE2.0") and not source[start + 3 + size])
