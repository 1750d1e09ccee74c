"""One image from file to file. Runs inside the child process."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from replicate_proxy.images.animation import compress_moving
from replicate_proxy.images.errors import UnreadableImageError
from replicate_proxy.images.reading import frame_count, open_image
from replicate_proxy.images.result import ImageResult
from replicate_proxy.images.still import compress_still

if TYPE_CHECKING:
    from replicate_proxy.images.job import Job

__all__ = ["compress"]


def compress(job: Job) -> ImageResult:
    """Never raises for what is in the file: the outcome says whether the image was compressed, kept or
    unreadable.
    """
    size = job.source.stat().st_size
    facts = ImageResult("unreadable", bytes_before=size, bytes_after=size)
    try:
        with open_image(job.source, job.limits) as image:
            name = "jpeg" if image.format == "MPO" else str(image.format).lower()
            frames = frame_count(image)
            kept = replace(facts, outcome="kept", format=name, source_format=name, frames=frames)
            return (compress_moving if frames > 1 else compress_still)(image, job, kept)
    except UnreadableImageError as error:
        return replace(facts, reason=error.reason)
