"""Find out in which color space the pixels of a file are.

What counts is what browsers go by, in the order of the W3C PNG specification (third edition, section 4.3):
cICP, profile, sRGB, then gAMA and cHRM; and of AVIF (ISO/IEC 23000-22, section 7.3.6.4): profile, then nclx.
"""

from __future__ import annotations

import contextlib
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from replicate_proxy.images.color_spaces import (
    HDR_TRANSFERS,
    Chromaticities,
    build_coded_profile,
    build_gamma_profile,
)
from replicate_proxy.images.containers import UnknownStructureError, avif, png

if TYPE_CHECKING:
    from replicate_proxy.images.containers import Source


# Larger profiles are ignored. Those of printers have two megabytes.
_MAX_PROFILE_BYTES: Final = 8 * 1024 * 1024
_PNG_COLOR_CHUNKS: Final = frozenset({b"cICP", b"iCCP", b"sRGB", b"gAMA", b"cHRM"})
_FIXED_POINT: Final = 100_000
# Encoders that mean sRGB write its approximation 1 / 2.2.
_SRGB_GAMMA, _GAMMA_TOLERANCE = 0.45455, 0.01
_ICC_HEADER_BYTES, _ICC_TAG_BYTES, _ICC_TYPE_BYTES = 128, 12, 8


@dataclass(frozen=True)
class ColorSource:
    """The ICC profile of the pixels, None for sRGB, and whether they are brighter than it can say (HDR)."""

    profile: bytes | None = None
    is_hdr: bool = False


def read_color(source: Source, format_name: str, embedded_profile: bytes | None = None) -> ColorSource:
    """Return the color space of a file of that format.

    `embedded_profile` is what the decoder has found; that of PNG is read here.
    """
    coded: tuple[int, int] | None = None
    fallback: bytes | None = None
    with contextlib.suppress(IndexError, struct.error, UnknownStructureError):
        if format_name == "png":
            coded, embedded_profile, fallback = _read_png(source)
        elif format_name == "avif" and not embedded_profile:
            coded = avif.read_color_codes(source)
    if coded is None and embedded_profile:
        with contextlib.suppress(struct.error):
            coded = _read_profile_codes(embedded_profile)
        if coded is None or coded[1] not in HDR_TRANSFERS:
            return ColorSource(embedded_profile)
    if coded is not None:
        return ColorSource(build_coded_profile(*coded), is_hdr=coded[1] in HDR_TRANSFERS)
    return ColorSource(fallback)


def _read_png(source: Source) -> tuple[tuple[int, int] | None, bytes | None, bytes | None]:
    """Return the codes of cICP, the profile of iCCP, and one built of gAMA and cHRM."""
    bodies: dict[bytes, bytes] = {}
    for chunk in png.read_chunks(source):
        # Chunks of color come before those of pixels.
        if chunk.name == b"IDAT":
            break
        if chunk.name in _PNG_COLOR_CHUNKS and chunk.body_end - chunk.body <= _MAX_PROFILE_BYTES:
            bodies.setdefault(chunk.name, chunk.read(source))
    codes = bodies.get(b"cICP", b"")
    # The other two say that the pixels are RGB in full range; anything else is not allowed in PNG.
    if codes[2:] == b"\0\1":
        return (codes[0], codes[1]), None, None
    if profile := _decompress_profile(bodies.get(b"iCCP", b"")):
        return None, profile, None
    return None, None, None if b"sRGB" in bodies else _build_fallback(bodies)


def _decompress_profile(body: bytes) -> bytes | None:
    """Return the profile after its name and a byte that names the method."""
    compressed = body.partition(b"\0")[2][1:]
    try:
        decompressor = zlib.decompressobj()
        profile = decompressor.decompress(compressed, _MAX_PROFILE_BYTES)
    except zlib.error:
        return None
    return profile if decompressor.eof else None


def _build_fallback(bodies: dict[bytes, bytes]) -> bytes | None:
    gamma: float | None = None
    chromaticities: Chromaticities | None = None
    if b"gAMA" in bodies:
        encoding_gamma = struct.unpack_from(">I", bodies[b"gAMA"])[0] / _FIXED_POINT
        if encoding_gamma and abs(encoding_gamma - _SRGB_GAMMA) > _GAMMA_TOLERANCE:
            gamma = 1 / encoding_gamma
    if b"cHRM" in bodies:
        values = (value / _FIXED_POINT for value in struct.unpack_from(">8I", bodies[b"cHRM"]))
        white_x, white_y, *primaries = values
        red_x, red_y, green_x, green_y, blue_x, blue_y = primaries
        chromaticities = (red_x, red_y, green_x, green_y, blue_x, blue_y, white_x, white_y)
    if gamma is None and chromaticities is None:
        return None
    return build_gamma_profile(chromaticities, gamma)


def _read_profile_codes(profile: bytes) -> tuple[int, int] | None:
    """Return the codes of a profile's cicp tag (ICC.1:2022, section 9.2.17)."""
    count = int.from_bytes(profile[_ICC_HEADER_BYTES : _ICC_HEADER_BYTES + 4])
    table = profile[_ICC_HEADER_BYTES + 4 :]
    for start in range(0, min(_ICC_TAG_BYTES * count, len(table)), _ICC_TAG_BYTES):
        if table[start : start + 4] == b"cicp":
            offset = int.from_bytes(table[start + 4 : start + 8])
            primaries, transfer = struct.unpack_from("BB", profile, offset + _ICC_TYPE_BYTES)
            return primaries, transfer
    return None
