"""A picture that does not move.

One image from file to file. Runs inside the child process.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from replicate_proxy.images.animation import encode_animation, read_frames
from replicate_proxy.images.color import normalize_pixels
from replicate_proxy.images.encode import (
    build_sample,
    choose_format,
    choose_quality,
    encode_lossless,
    encode_still,
)
from replicate_proxy.images.metadata import build_copyright_exif, read_orientation
from replicate_proxy.images.placeholder import describe
from replicate_proxy.images.reading import frame_count, open_image
from replicate_proxy.images.strip import write_stripped
from replicate_proxy.images.task import (
    EncodingFailedError,
    ImageOutcome,
    ImageResult,
    ImageTask,
    UnreadableImageError,
    write_result,
)

if TYPE_CHECKING:
    from PIL import Image


_FEW_COLOURS = 256


def compress_still(shown: Image.Image, job: ImageTask, facts: ImageResult, *, exif: bytes) -> ImageResult:
    """The lowest quality that reaches the floor; few colours are stored without loss where that is smaller.

    `shown` is upright sRGB, `exif` all that may be kept of the metadata. Raises EncodingFailedError.
    """
    target = choose_format(job.options, shown.size, is_transparent=shown.mode == "RGBA")
    sample = build_sample(shown)
    choice = choose_quality(sample, target, job.options, exif=exif)
    facts = replace(facts, quality=choice.quality, similarity=choice.similarity)
    encoded = choice.encoded if sample is shown else encode_still(shown, target, choice.quality, exif=exif)
    if target == "webp" and shown.getcolors(_FEW_COLOURS) is not None:
        lossless = encode_lossless(shown, exif=exif)
        if len(lossless) <= len(encoded) or not choice.is_similar_enough:
            return write_result(lossless, target, job, replace(facts, quality=None, similarity=1.0))
    if not choice.is_similar_enough:
        return replace(facts, reason="below_min_similarity")
    return write_result(encoded, target, job, facts)


def compress_image(task: ImageTask) -> ImageResult:
    """Never raises for what is in the file: the outcome says whether it is compressed, kept or unreadable."""
    size = task.source.stat().st_size
    facts = ImageResult(ImageOutcome.UNREADABLE, bytes_before=size, bytes_after=size)
    try:
        with open_image(task.source, task.limits) as image:
            return _read(image, task, facts)
    except UnreadableImageError as error:
        return facts.with_failure(error.reason)


def _read(image: Image.Image, job: ImageTask, facts: ImageResult) -> ImageResult:
    name = "jpeg" if image.format == "MPO" else str(image.format).lower()
    facts = replace(
        facts,
        outcome=ImageOutcome.UNMODIFIED,
        format=name,
        source_format=name,
        frame_count=frame_count(image),
    )
    exif = build_copyright_exif(image) if job.options.keep_copyright else b""
    turned = read_orientation(image)
    walked = read_frames(image, facts.frame_count) if facts.frame_count > 1 else None
    shown = walked.samples[0] if walked else normalize_pixels(image)
    facts = describe(facts, shown, image, job)
    if job.options.format == "original":
        return replace(facts, reason="original_requested")
    try:
        if walked:
            facts = encode_animation(image, walked, job, facts, exif=exif)
        else:
            if shown is not image:
                # The source's pixels are not needed any more, and a large image needs their memory for
                # encoding.
                image.close()
            facts = compress_still(shown, job, facts, exif=exif)
    except EncodingFailedError as error:
        facts = replace(facts, reason=error.reason)
    if facts.outcome is ImageOutcome.COMPRESSED:
        return facts
    return write_stripped(job, facts, exif=exif, turned=turned)
