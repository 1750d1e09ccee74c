"""What moves keeps moving: GIF, APNG, animated WebP and AVIF sequences become animated WebP or AVIF."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from replicate_proxy.images.color import normalize_pixels
from replicate_proxy.images.encode import build_sample, choose_format, choose_quality, encode_frames
from replicate_proxy.images.task import ImageTask, write_result

if TYPE_CHECKING:
    from PIL import Image

    from replicate_proxy.images.task import ImageResult


# What browsers make of a frame that gives no duration of its own.
_DEFAULT_DURATION_MS = 100


@dataclass(frozen=True)
class FrameInfo:
    """Each frame's milliseconds; the first, middle and last frame as they are shown."""

    durations_ms: list[int]
    samples: list[Image.Image]


def read_frames(image: Image.Image, frame_count: int) -> FrameInfo:
    """Decodes every frame once, so that a broken one is found before anything is written."""
    durations: list[int] = []
    shown: list[Image.Image] = []
    looked_at = {0, frame_count // 2, frame_count - 1}
    for index in range(frame_count):
        image.seek(index)
        image.load()
        durations.append(int(image.info.get("duration") or _DEFAULT_DURATION_MS))
        if index in looked_at:
            shown.append(normalize_pixels(image.copy()))
    image.seek(0)
    return FrameInfo(durations, shown)


def encode_animation(
    image: Image.Image, frames: FrameInfo, task: ImageTask, result: ImageResult, *, exif: bytes
) -> ImageResult:
    """One quality for all frames, the highest that any of the three looked at needs. Raises
    EncodingFailedError.
    """
    target = choose_format(task.options, (image.width, image.height * result.frame_count), is_animated=True)
    choices = [choose_quality(build_sample(frame), target, task.options) for frame in frames.samples]
    hardest = max(choices, key=lambda choice: choice.quality)
    result = replace(result, quality=hardest.quality, similarity=min(choice.similarity for choice in choices))
    if not all(choice.is_similar_enough for choice in choices):
        return replace(result, reason="below_min_similarity")
    encoded = encode_frames(image, target, hardest.quality, durations_ms=frames.durations_ms, exif=exif)
    return write_result(encoded, target, task, result)
