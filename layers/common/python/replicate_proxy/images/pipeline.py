"""Process one image from file to file, inside a child process.

An image is decoded once. From its normalized pixels come the thumbnail, the placeholder and the compressed
image. An image that is not compressed is written without its metadata instead.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

from PIL import ExifTags, Image

from replicate_proxy.images.animation import encode_animation, read_frames
from replicate_proxy.images.blurhash import encode_blurhash
from replicate_proxy.images.color import normalize_pixels
from replicate_proxy.images.decode import count_frames, open_image
from replicate_proxy.images.encode import choose_format, encode_lossless, encode_still
from replicate_proxy.images.metadata import build_copyright_exif, extract_text, read_orientation
from replicate_proxy.images.quality import build_sample, choose_quality
from replicate_proxy.images.stripping.strip import strip_metadata
from replicate_proxy.images.task import (
    EncodingFailedError,
    ImageOutcome,
    ImageResult,
    UnreadableImageError,
    write_result,
)

if TYPE_CHECKING:
    from replicate_proxy.images.task import ImageTask


_MAX_LOSSLESS_COLORS = 256
_THUMBNAIL_QUALITY = 75
# Averages whole blocks before the filter runs: a third of the time, without a visible difference at this
# size.
_THUMBNAIL_REDUCING_GAP = 1.1


def process_image(task: ImageTask) -> ImageResult:
    """Write the task's output and thumbnail, and return the result.

    The content of the file never makes this raise: the result says why an image is not compressed.
    """
    size = task.source.stat().st_size
    result = ImageResult(ImageOutcome.UNREADABLE, bytes_before=size, bytes_after=size)
    try:
        with open_image(task.source, task.limits) as image:
            return _process(image, task, result)
    except UnreadableImageError as error:
        return result.with_failure(error.reason)


def _process(image: Image.Image, task: ImageTask, result: ImageResult) -> ImageResult:
    source_format = "jpeg" if image.format == "MPO" else str(image.format).lower()
    result = replace(
        result,
        outcome=ImageOutcome.UNMODIFIED,
        format=source_format,
        source_format=source_format,
        frame_count=count_frames(image),
    )
    # Read first: normalizing turns the image upright and removes its orientation.
    exif = build_copyright_exif(image) if task.options.keep_copyright else b""
    orientation = read_orientation(image)
    frames = read_frames(image, result.frame_count) if result.frame_count > 1 else None
    pixels = frames.samples[0] if frames else normalize_pixels(image)
    result = _write_thumbnail(pixels, task, result)
    result = replace(result, text=extract_text(image, max_bytes=task.limits.max_text_bytes))
    if task.options.format == "original":
        return replace(result, reason="original_requested")
    try:
        if frames:
            result = encode_animation(image, frames, task, result, exif=exif)
        else:
            if pixels is not image:
                # The source's pixels are not needed any more, and encoding a large image needs their memory.
                image.close()
            result = _compress_still(pixels, task, result, exif=exif)
    except EncodingFailedError as error:
        result = replace(result, reason=error.reason)
    if result.outcome is ImageOutcome.COMPRESSED:
        return result
    return _write_stripped(task, result, exif=exif, orientation=orientation)


def _write_thumbnail(pixels: Image.Image, task: ImageTask, result: ImageResult) -> ImageResult:
    """Write the thumbnail (WebP) and add the image's size and placeholder to the result."""
    edge = task.options.thumbnail_px
    scale = min(1.0, edge / pixels.width, edge / pixels.height)
    size = (max(1, round(pixels.width * scale)), max(1, round(pixels.height * scale)))
    thumbnail = pixels.resize(size, Image.Resampling.BICUBIC, reducing_gap=_THUMBNAIL_REDUCING_GAP)
    return replace(
        result,
        width=pixels.width,
        height=pixels.height,
        placeholder=encode_blurhash(thumbnail),
        thumbnail_bytes=task.thumbnail.write_bytes(encode_still(thumbnail, "webp", _THUMBNAIL_QUALITY)),
    )


def _compress_still(pixels: Image.Image, task: ImageTask, result: ImageResult, *, exif: bytes) -> ImageResult:
    """Write the image at the lowest quality that is similar enough, or lossless if that is not larger.

    Lossless is tried for images of few colors. Raises EncodingFailedError.
    """
    format_name = choose_format(task.options, pixels.size, is_transparent=pixels.mode == "RGBA")
    sample = build_sample(pixels)
    choice = choose_quality(sample, format_name, task.options, exif=exif)
    result = replace(result, quality=choice.quality, similarity=choice.similarity)
    encoded = (
        choice.encoded if sample is pixels else encode_still(pixels, format_name, choice.quality, exif=exif)
    )
    if format_name == "webp" and pixels.getcolors(_MAX_LOSSLESS_COLORS) is not None:
        lossless = encode_lossless(pixels, exif=exif)
        if len(lossless) <= len(encoded) or not choice.is_similar_enough:
            result = replace(result, quality=None, similarity=1.0)
            return write_result(lossless, format_name, task, result)
    if not choice.is_similar_enough:
        return replace(result, reason="below_min_similarity")
    return write_result(encoded, format_name, task, result)


def _write_stripped(task: ImageTask, result: ImageResult, *, exif: bytes, orientation: int) -> ImageResult:
    """Write the source without its metadata, unless there is none to remove or the structure is not known."""
    source = task.source.read_bytes()
    if result.source_format != "avif":
        # AVIF keeps the orientation as a property of the image item (ISO/IEC 23008-12, irot and imir).
        exif = _add_orientation(exif, orientation)
    stripped = strip_metadata(source, result.source_format, exif=exif)
    if stripped is None or stripped == source or len(stripped) > len(source):
        return result
    task.output.write_bytes(stripped)
    return replace(result, bytes_after=len(stripped), sha256=hashlib.sha256(stripped).hexdigest())


def _add_orientation(exif: bytes, orientation: int) -> bytes:
    """Return the EXIF block with the orientation, without which the image would be shown turned."""
    if orientation <= 1:
        return exif
    block = Image.Exif()
    if exif:
        block.load(exif)
    block[ExifTags.Base.Orientation] = orientation
    return block.tobytes()
