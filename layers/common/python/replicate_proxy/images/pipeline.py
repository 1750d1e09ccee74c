"""Process one image from file to file, inside a child process.

An image is decoded once. From its normalized pixels come the thumbnail, the placeholder and the compressed
image. An image that is not compressed is written without its metadata instead: its file without the metadata
or, if the structure of the file is not known, its pixels encoded without loss. A file that cannot be decoded
is written without its metadata too.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING

from PIL import Image

from replicate_proxy.images.animation import Animation
from replicate_proxy.images.blurhash import encode_blurhash
from replicate_proxy.images.decode import open_image
from replicate_proxy.images.encode import encode_still
from replicate_proxy.images.metadata import read_metadata
from replicate_proxy.images.still import StillImage
from replicate_proxy.images.stripping.parts import calculate_sha256
from replicate_proxy.images.stripping.strip import strip_file
from replicate_proxy.images.task import (
    EncodingFailedError,
    ImageOutcome,
    ImageResult,
    UnreadableImageError,
    write_output,
)

if TYPE_CHECKING:
    from replicate_proxy.images.decode import ImageSource
    from replicate_proxy.images.metadata import ImageMetadata
    from replicate_proxy.images.task import ImageTask


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
    metadata = read_metadata(task.source)
    result = replace(result, text=metadata.extract_text(max_bytes=task.limits.max_text_bytes))
    failure = task.failure
    if failure is None:
        try:
            with open_image(task.source, task.limits, orientation=metadata.orientation) as source:
                return _process(source, metadata, task, result)
        except UnreadableImageError as error:
            failure = error.reason
    return _write_stripped(metadata, task, result.with_failure(failure))


def _process(
    source: ImageSource, metadata: ImageMetadata, task: ImageTask, result: ImageResult
) -> ImageResult:
    result = replace(
        result,
        outcome=ImageOutcome.UNMODIFIED,
        format=source.format_name,
        source_format=source.format_name,
        frame_count=source.frame_count,
    )
    image: StillImage | Animation
    if source.frame_count > 1:
        frames = source.read_frames()
        first = next(frames)
        result = _write_thumbnail(first.pixels, task, result)
        image = Animation(source, chain((first,), frames))
    else:
        pixels = source.read_still()
        result = _write_thumbnail(pixels, task, result)
        image = StillImage(pixels)
    if task.options.format == "original":
        return replace(result, reason="original_requested", is_source_publishable=True)
    exif = metadata.build_exif(keep_copyright=task.options.keep_copyright)
    result = _compress(image, source, task, result, exif=exif)
    if result.outcome is ImageOutcome.COMPRESSED:
        return result
    result = _write_stripped(metadata, task, result)
    if result.is_publishable:
        return result
    try:
        encoded, format_name = image.encode_unmodified(exif=exif)
    except EncodingFailedError:
        return result
    return write_output(encoded, format_name, task, result)


def _compress(
    image: StillImage | Animation, source: ImageSource, task: ImageTask, result: ImageResult, *, exif: bytes
) -> ImageResult:
    if source.is_hdr:
        # Encoding what was decoded would cut off the highlights.
        return replace(result, reason="hdr")
    try:
        return image.compress(task, result, exif=exif)
    except EncodingFailedError as error:
        return replace(result, reason=error.reason)


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


def _write_stripped(metadata: ImageMetadata, task: ImageTask, result: ImageResult) -> ImageResult:
    """Write the source without its metadata, unless there is none to remove or the structure is not known."""
    exif = metadata.build_exif(
        keep_copyright=task.options.keep_copyright,
        keep_orientation=True,
    )
    try:
        is_written = strip_file(task.source, task.output, exif=exif)
    except (OSError, MemoryError):
        # The disk is full, or one of the parts does not fit into the memory.
        return result
    if is_written is None:
        return result
    if not is_written:
        return replace(result, is_source_publishable=True)
    return replace(result, bytes_after=task.output.stat().st_size, sha256=calculate_sha256(task.output))
