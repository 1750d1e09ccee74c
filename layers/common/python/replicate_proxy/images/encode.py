"""Encode pixels as WebP, AVIF or JPEG, and choose between these formats.

Encoder settings and memory needs are measured, see docs/images.md. Working memory per pixel: WebP 10 bytes,
with transparency 24, AVIF 27, JPEG 5. The size limits below keep the harvest function, child process
included, within 300 MB for opaque images.
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
    """`qualities`: the default one, then those to try when it is not similar enough to the source."""

    pillow_name: str
    qualities: tuple[int, ...]
    pillow_options: dict[str, Any]


ENCODERS: Final[dict[TargetFormat, EncoderSettings]] = {
    "webp": EncoderSettings("WEBP", (80, 87, 92, 96), {"method": 2}),
    "avif": EncoderSettings("AVIF", (63, 72, 80, 88), {"speed": 9, "max_threads": 1}),
    "jpeg": EncoderSettings("JPEG", (82, 88, 92, 95), {}),
}

_MAX_AVIF_PIXELS = 8_000_000
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
    JPEG.
    """
    pixels, longest_edge = size[0] * size[1], max(size)
    fits_webp = pixels <= _MAX_WEBP_PIXELS and longest_edge <= _MAX_WEBP_EDGE_PIXELS
    fits_jpeg = not is_transparent and not is_animated
    if options.format == "jpeg" and fits_jpeg:
        return "jpeg"
    if options.format == "avif" and pixels <= _MAX_AVIF_PIXELS and longest_edge <= _MAX_AVIF_EDGE_PIXELS:
        return "avif"
    return "jpeg" if fits_jpeg and not fits_webp else "webp"


def encode_still(image: Image.Image, format_name: TargetFormat, quality: int, *, exif: bytes = b"") -> bytes:
    """Encode a still image with `exif` as its only metadata. RGBA cannot be encoded as JPEG."""
    options = ENCODERS[format_name].pillow_options
    return _save(image, format_name, quality=quality, exif=exif, **options)


def encode_lossless(image: Image.Image, *, exif: bytes = b"") -> bytes:
    """Encode as lossless WebP, which is smaller than lossy for drawings of few colors."""
    return _save(image, "webp", lossless=True, quality=40, method=2, exif=exif)


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
        **ENCODERS[format_name].pillow_options | encoding,
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
