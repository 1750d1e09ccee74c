"""Pixels as a browser would show them: upright, 8 bits a channel, sRGB, RGB or RGBA (L where the source was
grey).
"""

from __future__ import annotations

import io

from PIL import Image, ImageCms, ImageOps

_16_BIT_MODES = frozenset({"I", "I;16", "I;16L", "I;16B", "I;16N"})


def normalize_pixels(image: Image.Image) -> Image.Image:
    """The current frame, decoded and normalised; it carries no metadata any more."""
    image.load()
    profile = image.info.get("icc_profile")
    # In place: a copy of a 24-megapixel image is another 96 MB.
    ImageOps.exif_transpose(image, in_place=True)
    flat = _reduce_to_8_bit(image)
    shown = _convert_to_srgb(flat, profile) if profile and not _is_srgb(profile) else _reduce_mode(flat)
    bare = shown if shown is not image else image.copy() if image.readonly else image
    bare.info = {}
    return bare


def _reduce_to_8_bit(image: Image.Image) -> Image.Image:
    if image.mode in _16_BIT_MODES:
        wide = image if image.mode == "I" else image.convert("I")
        return wide.point(lambda value: value * (1 / 257)).convert("L")
    if image.mode == "F":
        return image.convert("L")
    if image.mode in {"P", "PA", "1"}:
        return image.convert("RGBA" if image.has_transparency_data else "RGB" if image.mode != "1" else "L")
    return image


def _reduce_mode(image: Image.Image) -> Image.Image:
    """RGB, RGBA or L; a transparent colour named in the header (PNG tRNS) becomes alpha."""
    if image.has_transparency_data:
        rgba = image if image.mode == "RGBA" else image.convert("RGBA")
        # An alpha channel that is opaque throughout costs bytes and says nothing.
        return rgba if rgba.getchannel("A").getextrema() != (255, 255) else rgba.convert("RGB")
    return image if image.mode in {"RGB", "L"} else image.convert("RGB")


def _is_srgb(profile: bytes) -> bool:
    """The many sRGB profiles name themselves so; converting from one of them would only take time."""
    head = profile[:4096]
    return b"sRGB" in head or "sRGB".encode("utf-16-be") in head


def _convert_to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    alpha = image.convert("RGBA").getchannel("A") if image.has_transparency_data else None
    colour = image.convert("L" if image.mode == "LA" else "RGB") if alpha is not None else image
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        target = ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(colour, source, target, outputMode="RGB")
    except (ImageCms.PyCMSError, OSError, ValueError):
        # A profile that does not fit its pixels is what other viewers ignore as well.
        return _reduce_mode(image)
    if converted is None:
        return _reduce_mode(image)
    if alpha is not None:
        converted.putalpha(alpha)
    return _reduce_mode(converted)
