"""What moves keeps moving: GIF, APNG, animated WebP and AVIF sequences become animated WebP or AVIF."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from replicate_proxy.images.colour import to_display
from replicate_proxy.images.describe import describe
from replicate_proxy.images.encode import encode_moving
from replicate_proxy.images.job import Job, store, target_of
from replicate_proxy.images.metadata import copyright_exif
from replicate_proxy.images.quality import choose_quality, sample_of

if TYPE_CHECKING:
    from PIL import Image

    from replicate_proxy.images.result import ImageResult

__all__ = ["compress_moving"]

# What browsers make of a frame that gives no duration of its own.
_DEFAULT_MILLISECONDS = 100


def compress_moving(image: Image.Image, job: Job, facts: ImageResult) -> ImageResult:
    """Quality is chosen on the first, middle and last frame; the thumbnail shows the first."""
    exif = copyright_exif(image) if job.options.keep_copyright else b""
    durations, shown = _walk(image, facts.frames)
    image.seek(0)
    facts = describe(facts, shown[0], image, job)
    if job.options.format == "original":
        return replace(facts, reason="asked_for_original")
    target = target_of(job.options, moving=True)
    choices = [choose_quality(sample_of(frame), target, job.options) for frame in shown]
    hardest = max(choices, key=lambda choice: choice.quality)
    lowest = min(choice.similarity for choice in choices)
    facts = replace(facts, quality=hardest.quality, similarity=lowest)
    if not all(choice.reached for choice in choices):
        return replace(facts, reason="below_similarity_floor")
    return store(
        encode_moving(image, target, hardest.quality, durations=durations, exif=exif), target, job, facts
    )


def _walk(image: Image.Image, frames: int) -> tuple[list[int], list[Image.Image]]:
    """Every frame is decoded once here, so a broken one is found before anything is written."""
    durations: list[int] = []
    shown: list[Image.Image] = []
    looked_at = {0, frames // 2, frames - 1}
    for index in range(frames):
        image.seek(index)
        image.load()
        durations.append(int(image.info.get("duration") or _DEFAULT_MILLISECONDS))
        if index in looked_at:
            shown.append(to_display(image.copy()))
    return durations, shown
