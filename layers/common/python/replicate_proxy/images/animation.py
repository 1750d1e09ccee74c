"""What moves keeps moving: GIF, APNG, animated WebP and AVIF sequences become animated WebP or AVIF."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from replicate_proxy.images.color import to_display
from replicate_proxy.images.encode import choose_quality, encode_moving, sample_of, target_of
from replicate_proxy.images.task import Job, hand_over

if TYPE_CHECKING:
    from PIL import Image

    from replicate_proxy.images.task import ImageResult


# What browsers make of a frame that gives no duration of its own.
_DEFAULT_MILLISECONDS = 100


@dataclass(frozen=True)
class Walk:
    """Each frame's milliseconds; the first, middle and last frame as they are shown."""

    durations: list[int]
    shown: list[Image.Image]


def walk(image: Image.Image, frames: int) -> Walk:
    """Decodes every frame once, so that a broken one is found before anything is written."""
    durations: list[int] = []
    shown: list[Image.Image] = []
    looked_at = {0, frames // 2, frames - 1}
    for index in range(frames):
        image.seek(index)
        image.load()
        durations.append(int(image.info.get("duration") or _DEFAULT_MILLISECONDS))
        if index in looked_at:
            shown.append(to_display(image.copy()))
    image.seek(0)
    return Walk(durations, shown)


def compress_moving(
    image: Image.Image, walked: Walk, job: Job, facts: ImageResult, *, exif: bytes
) -> ImageResult:
    """One quality for all frames, the highest that any of the three looked at needs. Raises
    EncodingFailedError.
    """
    target = target_of(job.options, (image.width, image.height * facts.frames), moving=True)
    choices = [choose_quality(sample_of(frame), target, job.options) for frame in walked.shown]
    hardest = max(choices, key=lambda choice: choice.quality)
    facts = replace(facts, quality=hardest.quality, similarity=min(choice.similarity for choice in choices))
    if not all(choice.reached for choice in choices):
        return replace(facts, reason="below_similarity_floor")
    encoded = encode_moving(image, target, hardest.quality, durations=walked.durations, exif=exif)
    return hand_over(encoded, target, job, facts)
