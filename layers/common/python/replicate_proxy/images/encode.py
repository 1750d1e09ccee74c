"""Encode pixels as WebP, AVIF or JPEG, and choose between these formats.

Encoder settings and memory needs are measured, see docs/images.md. Working memory per pixel: WebP 10 bytes,
with transparency or without loss 24, AVIF 27, in full color 39, JPEG 5. The size limits below keep the
harvest function, child process included, within 300 MB for opaque images.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from replicate_proxy.images.containers import avif
from replicate_proxy.images.task import EncodingFailedError

if TYPE_CHECKING:
    from PIL import Image

    from replicate_proxy.images.options import ImageOptions


type TargetFormat = Literal["webp", "avif", "jpeg"]


@dataclass(frozen=True)
class EncoderSettings:
    """`default_quality` is tried first, then others up to `max_quality` and down to `min_quality`.

    `score_per_quality` is by how much the score of most images grows with the quality. Encoders halve the
    resolution of color unless `full_color_options` are given, which WebP has not; `prefers_full_color` if
    that gives fewer bytes at the same score.
    """

    pillow_name: str
    default_quality: int
    min_quality: int
    max_quality: int
    score_per_quality: float
    pillow_options: dict[str, Any]
    full_color_options: dict[str, Any] | None = None
    prefers_full_color: bool = False


_FULL_COLOR: Final = {"subsampling": "4:4:4"}
ENCODERS: Final[dict[TargetFormat, EncoderSettings]] = {
    "webp": EncoderSettings("WEBP", 78, 50, 97, 0.6, {"method": 2}),
    "avif": EncoderSettings(
        "AVIF", 56, 35, 90, 0.8, {"speed": 9, "max_threads": 1}, _FULL_COLOR, prefers_full_color=True
    ),
    "jpeg": EncoderSettings("JPEG", 66, 50, 95, 0.5, {}, _FULL_COLOR),
}

_MAX_AVIF_PIXELS = 8_000_000
# 2048 × 2048 fits.
_MAX_AVIF_FULL_COLOR_PIXELS = 4_200_000
# Of images of more than 256 colors.
_MAX_LOSSLESS_PIXELS = 8_000_000
_MAX_EFFORT_PIXELS = 4_000_000
# libavif's imageDimensionLimit: it encodes larger images, but decodes none, and browsers use it.
_MAX_AVIF_EDGE_PIXELS = 32_768
_MAX_WEBP_PIXELS = 20_000_000
# RFC 9649: 14 bits for each edge.
_MAX_WEBP_EDGE_PIXELS = 16_383
_MAX_WEBP_PLAYS = 0xFFFF

# Messages of libwebp (VP8_ENC_ERROR_OUT_OF_MEMORY, VP8_ENC_ERROR_BITSTREAM_OUT_OF_MEMORY), libavif and
# Pillow.
_OUT_OF_MEMORY_MESSAGES: Final = ("encoding error 1", "encoding error 2", "Out of memory", "out of memory")


def choose_format(
    options: ImageOptions, size: tuple[int, int], *, is_transparent: bool = False, is_animated: bool = False
) -> TargetFormat:
    """Return the requested format, or another one if it cannot hold the image or would take too much memory.

    JPEG has neither transparency nor animation: such images become WebP. Images too large for WebP become
    JPEG. "auto" is AVIF for still images that are stored with the full resolution of color, if the request
    accepts it, and otherwise WebP.
    """
    pixels, longest_edge = size[0] * size[1], max(size)
    if options.format == "auto" and _prefers_avif(options, size, is_animated=is_animated):
        return "avif"
    fits_webp = pixels <= _MAX_WEBP_PIXELS and longest_edge <= _MAX_WEBP_EDGE_PIXELS
    fits_jpeg = not is_transparent and not is_animated
    if options.format == "jpeg" and fits_jpeg:
        return "jpeg"
    if options.format == "avif" and pixels <= _MAX_AVIF_PIXELS and longest_edge <= _MAX_AVIF_EDGE_PIXELS:
        return "avif"
    return "jpeg" if fits_jpeg and not fits_webp else "webp"


def _prefers_avif(options: ImageOptions, size: tuple[int, int], *, is_animated: bool) -> bool:
    return options.accepts_avif and not is_animated and allows_full_color("avif", size)


def allows_full_color(format_name: TargetFormat, size: tuple[int, int]) -> bool:
    """Return whether an image of that size can be encoded with the full resolution of color."""
    if ENCODERS[format_name].full_color_options is None:
        return False
    fits_avif = size[0] * size[1] <= _MAX_AVIF_FULL_COLOR_PIXELS and max(size) <= _MAX_AVIF_EDGE_PIXELS
    return format_name != "avif" or fits_avif


def allows_lossless(size: tuple[int, int]) -> bool:
    """Return whether an image of that size and of any number of colors can be encoded without loss."""
    return size[0] * size[1] <= _MAX_LOSSLESS_PIXELS


def encode_still(
    image: Image.Image,
    format_name: TargetFormat,
    quality: int,
    *,
    full_color: bool = False,
    exif: bytes = b"",
) -> bytes:
    """Encode a still image with `exif` as its only metadata. RGBA cannot be encoded as JPEG."""
    options = _choose_options(format_name, full_color=full_color)
    return _save(image, format_name, quality=quality, exif=exif, **options)


def _choose_options(format_name: TargetFormat, *, full_color: bool) -> dict[str, Any]:
    settings = ENCODERS[format_name]
    return settings.pillow_options | ((settings.full_color_options or {}) if full_color else {})


def encode_lossless(image: Image.Image, *, exif: bytes = b"") -> bytes:
    """Encode as lossless WebP, which is smaller than lossy for drawings and screenshots.

    Large images are encoded with the least effort: a fifth of the time for 6 % more bytes.
    """
    is_large = image.width * image.height > _MAX_EFFORT_PIXELS
    effort = {"quality": 0, "method": 0} if is_large else {"quality": 40, "method": 2}
    return _save(image, "webp", lossless=True, exif=exif, **effort)


def encode_png(image: Image.Image, *, exif: bytes = b"") -> bytes:
    """Encode as PNG, which holds every size and takes next to no memory."""
    return _save_as(image, "PNG", compress_level=6, exif=exif)


def encode_frames(
    frames: Image.Image,
    format_name: TargetFormat,
    quality: int | None,
    *,
    durations_ms: list[int],
    plays: int,
    full_color: bool = False,
    exif: bytes = b"",
) -> bytes:
    """Encode all frames of an animation, without loss (WebP only) if there is no quality.

    `plays` is how often it is played, 0 for ever.
    """
    encoding = {"lossless": True, "quality": 40} if quality is None else {"quality": quality}
    content = _save(
        frames,
        format_name,
        exif=exif,
        xmp=b"",
        save_all=True,
        duration=durations_ms,
        loop=min(plays, _MAX_WEBP_PLAYS),
        **_choose_options(format_name, full_color=full_color) | encoding,
    )
    return avif.set_plays(content, plays) if format_name == "avif" and plays else content


def _save(image: Image.Image, format_name: TargetFormat, **options: Any) -> bytes:
    return _save_as(image, ENCODERS[format_name].pillow_name, **options)


def _save_as(image: Image.Image, pillow_name: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    try:
        image.save(buffer, pillow_name, **options)
    except MemoryError as error:
        raise EncodingFailedError("memory_limit") from error
    except (OSError, ValueError, RuntimeError) as error:
        is_out_of_memory = any(message in str(error) for message in _OUT_OF_MEMORY_MESSAGES)
        raise EncodingFailedError("memory_limit" if is_out_of_memory else "encoding_failed") from error
    return buffer.getvalue()
