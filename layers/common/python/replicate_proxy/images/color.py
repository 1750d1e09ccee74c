"""Convert an image to the pixels that a browser would show: upright, sRGB, 8 bits a channel."""

from __future__ import annotations

import io
from itertools import chain, product
from typing import TYPE_CHECKING

from PIL import Image, ImageChops, ImageCms

if TYPE_CHECKING:
    from typing import Final


_16_BIT_MODES = frozenset({"I", "I;16", "I;16L", "I;16B", "I;16N"})
# How EXIF orientations are undone (Exif 2.32, section 4.6.4).
_TRANSPOSITIONS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# The mode of the pixels that a profile of that color space describes.
_PROFILE_MODES: Final = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}
# Converting by a profile that changes colors by no more than rounding only takes time.
_MAX_SRGB_DIFFERENCE = 2
_COLOR_STEPS = range(0, 256, 17)


class ColorConverter:
    """Converts pixels from the color space of an ICC profile to sRGB; one is used for all frames.

    A profile that cannot be read, or does not fit the pixels, is ignored as browsers do.
    """

    def __init__(self, profile: bytes | None) -> None:
        self._transform, self._mode = _build_transform(profile) if profile else (None, "")

    def convert(self, image: Image.Image) -> Image.Image:
        """Return the image in sRGB as RGB, RGBA or L. It has 8 bits a channel and no palette."""
        if self._transform is None or self._mode not in self._list_fitting_modes(image):
            return _reduce_mode(image)
        alpha = image.getchannel("A") if image.mode in {"RGBA", "LA"} else None
        is_gray = image.mode in {"L", "LA"}
        opaque = (
            image
            if image.mode == self._mode
            else image.convert("L" if is_gray else "RGB").convert(self._mode)
        )
        converted = ImageCms.applyTransform(opaque, self._transform)
        if converted is None:
            return _reduce_mode(image)
        if is_gray:
            converted = converted.getchannel("G")
        if alpha is not None:
            converted.putalpha(alpha)
        return _reduce_mode(converted)

    @staticmethod
    def _list_fitting_modes(image: Image.Image) -> set[str]:
        if image.mode == "CMYK":
            return {"CMYK"}
        return {"RGB", "L"} if image.mode in {"L", "LA"} else {"RGB"}


def normalize_pixels(image: Image.Image, converter: ColorConverter, *, orientation: int = 1) -> Image.Image:
    """Return the current frame, decoded, as RGB, RGBA or L (grayscale) without metadata.

    The image itself may be returned, and then loses its metadata.
    """
    image.load()
    pixels = converter.convert(_reduce_to_8_bit(image))
    transposition = _TRANSPOSITIONS.get(orientation)
    if transposition is not None:
        pixels = pixels.transpose(transposition)
    if pixels is image and image.readonly:
        pixels = image.copy()
    pixels.info = {}
    return pixels


def _build_transform(profile: bytes) -> tuple[ImageCms.ImageCmsTransform | None, str]:
    """Return the transform to sRGB and the mode that it takes, None for a profile that is (nearly) sRGB."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = _PROFILE_MODES.get(source.profile.xcolor_space.strip(), "")
        if not mode:
            return None, ""
        target = ImageCms.createProfile("sRGB")
        transform = ImageCms.buildTransform(source, target, mode, "RGB")
        if mode != "CMYK" and _is_identity(transform, mode):
            return None, ""
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None, ""
    return transform, mode


def _is_identity(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Return whether colors all over the space stay what they are.

    The name of a profile says nothing: "Display P3 Gamut with sRGB Transfer" is not sRGB.
    """
    grays = bytes(value for gray in range(256) for value in (gray, gray, gray))
    colors = bytes(chain.from_iterable(product(_COLOR_STEPS, repeat=3))) if mode == "RGB" else b""
    samples = Image.frombytes("RGB", ((len(grays) + len(colors)) // 3, 1), grays + colors)
    converted = ImageCms.applyTransform(samples if mode == "RGB" else samples.convert(mode), transform)
    if converted is None:
        return False
    return max(ImageChops.difference(samples, converted).tobytes()) <= _MAX_SRGB_DIFFERENCE


def reduce_gray(image: Image.Image) -> Image.Image:
    """Return a grayscale image of any bit depth as L."""
    if image.mode in _16_BIT_MODES:
        wide = image if image.mode == "I" else image.convert("I")
        image = wide.point(lambda value: value * (1 / 257))
    return image.convert("L")


def _reduce_to_8_bit(image: Image.Image) -> Image.Image:
    if image.mode in {"1", "F"} | _16_BIT_MODES:
        return reduce_gray(image)
    if image.mode in {"P", "PA"}:
        return image.convert("RGBA" if image.has_transparency_data else "RGB")
    return image.convert("RGBA") if "transparency" in image.info else image


def _reduce_mode(image: Image.Image) -> Image.Image:
    """Convert to RGB, RGBA or L."""
    if image.has_transparency_data:
        rgba = image if image.mode == "RGBA" else image.convert("RGBA")
        # A fully opaque alpha channel costs bytes and has no effect.
        is_opaque = rgba.getchannel("A").getextrema() == (255, 255)
        return rgba.convert("RGB") if is_opaque else rgba
    return image if image.mode in {"RGB", "L"} else image.convert("RGB")
