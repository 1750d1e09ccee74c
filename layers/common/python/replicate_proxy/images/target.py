"""Which format an image is written in: the one asked for, unless it cannot hold this image or costs too much.

Working memory per pixel was measured (docs/images.md): Pillow's WebP encoder 10 bytes, with transparency 24,
AVIF 27, JPEG 5. The limits below keep the whole function, child and parent, within 300 MB for opaque images.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from replicate_proxy.images.encode import Target
    from replicate_proxy.outputs.options import ImageOptions

__all__ = ["target_of"]

_AVIF_PIXELS = 8_000_000
_WEBP_PIXELS = 20_000_000
# RFC 9649: 14 bits for each edge.
_WEBP_EDGE = 16_383


def target_of(
    options: ImageOptions, size: tuple[int, int], *, transparent: bool = False, moving: bool = False
) -> Target:
    """JPEG has neither transparency nor motion: such an image becomes WebP. Very large ones become JPEG."""
    pixels = size[0] * size[1]
    fits_webp = pixels <= _WEBP_PIXELS and max(size) <= _WEBP_EDGE
    jpeg_will_do = not transparent and not moving
    if options.format == "jpeg" and jpeg_will_do:
        return "jpeg"
    if options.format == "avif" and pixels <= _AVIF_PIXELS:
        return "avif"
    return "jpeg" if jpeg_will_do and not fits_webp else "webp"
