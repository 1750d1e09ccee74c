"""One image from file to file. Runs inside the child process."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from replicate_proxy.images.animation import compress_moving, walk
from replicate_proxy.images.colour import to_display
from replicate_proxy.images.describe import describe
from replicate_proxy.images.errors import EncodingFailedError, UnreadableImageError
from replicate_proxy.images.metadata import copyright_exif, orientation
from replicate_proxy.images.reading import frame_count, open_image
from replicate_proxy.images.result import ImageResult
from replicate_proxy.images.still import compress_still
from replicate_proxy.images.strip import hand_over_stripped

if TYPE_CHECKING:
    from PIL import Image

    from replicate_proxy.images.job import Job

__all__ = ["compress"]


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
