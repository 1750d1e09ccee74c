"""A picture that does not move.

One image from file to file. Runs inside the child process.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from replicate_proxy.images.animation import compress_moving, walk
from replicate_proxy.images.color import to_display
from replicate_proxy.images.encode import choose_quality, encode, encode_lossless, sample_of, target_of
from replicate_proxy.images.metadata import copyright_exif, orientation
from replicate_proxy.images.placeholder import describe
from replicate_proxy.images.reading import frame_count, open_image
from replicate_proxy.images.strip import hand_over_stripped
from replicate_proxy.images.task import EncodingFailedError, ImageResult, Job, UnreadableImageError, hand_over

if TYPE_CHECKING:
    from PIL import Image


_FEW_COLOURS = 256


def compress_still(shown: Image.Image, job: Job, facts: ImageResult, *, exif: bytes) -> ImageResult:
    """The lowest quality that reaches the floor; few colours are stored without loss where that is smaller.

    `shown` is upright sRGB, `exif` all that may be kept of the metadata. Raises EncodingFailedError.
    """
    target = target_of(job.options, shown.size, transparent=shown.mode == "RGBA")
    sample = sample_of(shown)
    choice = choose_quality(sample, target, job.options, exif=exif)
    facts = replace(facts, quality=choice.quality, similarity=choice.similarity)
    encoded = choice.encoded if sample is shown else encode(shown, target, choice.quality, exif=exif)
    if target == "webp" and shown.getcolors(_FEW_COLOURS) is not None:
        lossless = encode_lossless(shown, exif=exif)
        if len(lossless) <= len(encoded) or not choice.reached:
            return hand_over(lossless, target, job, replace(facts, quality=None, similarity=1.0))
    if not choice.reached:
        return replace(facts, reason="below_similarity_floor")
    return hand_over(encoded, target, job, facts)


def compress(job: Job) -> ImageResult:
    """Never raises for what is in the file: the outcome says whether it is compressed, kept or unreadable."""
    size = job.source.stat().st_size
    facts = ImageResult("unreadable", bytes_before=size, bytes_after=size)
    try:
        with open_image(job.source, job.limits) as image:
            return _read(image, job, facts)
    except UnreadableImageError as error:
        return facts.failed(error.reason)


def _read(image: Image.Image, job: Job, facts: ImageResult) -> ImageResult:
    name = "jpeg" if image.format == "MPO" else str(image.format).lower()
    facts = replace(facts, outcome="kept", format=name, source_format=name, frames=frame_count(image))
    exif = copyright_exif(image) if job.options.keep_copyright else b""
    turned = orientation(image)
    walked = walk(image, facts.frames) if facts.frames > 1 else None
    shown = walked.shown[0] if walked else to_display(image)
    facts = describe(facts, shown, image, job)
    if job.options.format == "original":
        return replace(facts, reason="asked_for_original")
    try:
        if walked:
            facts = compress_moving(image, walked, job, facts, exif=exif)
        else:
            if shown is not image:
                # The source's pixels are not needed any more, and a large image needs their memory for
                # encoding.
                image.close()
            facts = compress_still(shown, job, facts, exif=exif)
    except EncodingFailedError as error:
        facts = replace(facts, reason=error.reason)
    if facts.outcome == "compressed":
        return facts
    return hand_over_stripped(job, facts, exif=exif, turned=turned)
