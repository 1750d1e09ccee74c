"""Convert an image to the pixels that a browser would show: upright, sRGB, 8 bits a channel."""

from __future__ import annotations

import io

from PIL import Image, ImageCms, ImageOps

_16_BIT_MODES = frozenset({"I", "I;16", "I;16L", "I;16B", "I;16N"})
# The names and descriptions of a profile are near its start.
_PROFILE_NAME_BYTES = 4096


def normalize_pixels(image: Image.Image) -> Image.Image:
    """Return the current frame, decoded, as RGB, RGBA or L (grayscale) without metadata.

    The image itself may be changed and returned.
    """
    image.load()
    profile = image.info.get("icc_profile")
    # In place: a copy of a 24-megapixel image takes another 96 MB.
    ImageOps.exif_transpose(image, in_place=True)
    reduced = _reduce_to_8_bit(image)
    if profile and not _is_srgb(profile):
        pixels = _convert_to_srgb(reduced, profile)
    else:
        pixels = _reduce_mode(reduced)
    if pixels is image and image.readonly:
        pixels = image.copy()
    pixels.info = {}
    return pixels


def _reduce_to_8_bit(image: Image.Image) -> Image.Image:
    if image.mode in _16_BIT_MODES:
        wide = image if image.mode == "I" else image.convert("I")
        return wide.point(lambda value: value * (1 / 257)).convert("L")
    if image.mode == "F":
        return image.convert("L")
    if image.mode == "1":
        return image.convert("RGBA" if image.has_transparency_data else "L")
    if image.mode in {"P", "PA"}:
        return image.convert("RGBA" if image.has_transparency_data else "RGB")
    return image


def _reduce_mode(image: Image.Image) -> Image.Image:
    """Convert to RGB, RGBA or L; a transparent color named in the header (PNG tRNS) becomes alpha."""
    if image.has_transparency_data:
        rgba = image if image.mode == "RGBA" else image.convert("RGBA")
        # A fully opaque alpha channel costs bytes and has no effect.
        is_opaque = rgba.getchannel("A").getextrema() == (255, 255)
        return rgba.convert("RGB") if is_opaque else rgba
    return image if image.mode in {"RGB", "L"} else image.convert("RGB")


def _is_srgb(profile: bytes) -> bool:
    """Return whether the profile calls itself sRGB; converting from such a profile only takes time."""
    head = profile[:_PROFILE_NAME_BYTES]
    return b"sRGB" in head or "sRGB".encode("utf-16-be") in head


def _convert_to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Convert from the profile's color space; a profile that does not fit the pixels is ignored."""
    alpha = image.convert("RGBA").getchannel("A") if image.has_transparency_data else None
    opaque = image if alpha is None else image.convert("L" if image.mode == "LA" else "RGB")
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        target = ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(opaque, source, target, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        return _reduce_mode(image)
    if converted is None:
        return _reduce_mode(image)
    if alpha is not None:
        converted.putalpha(alpha)
    return _reduce_mode(converted)
