"""Compress animations: GIF, APNG, animated WebP and AVIF sequences become animated WebP or AVIF."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from replicate_proxy.images.color import normalize_pixels
from replicate_proxy.images.encode import choose_format, encode_frames
from replicate_proxy.images.quality import build_sample, choose_quality
from replicate_proxy.images.task import write_result

if TYPE_CHECKING:
    from PIL import Image

    from replicate_proxy.images.task import ImageResult, ImageTask


# Browsers show a frame without a duration for that long.
_DEFAULT_DURATION_MS = 100


@dataclass(frozen=True)
class FrameInfo:
    """The durations of all frames, and the normalized pixels of the first, middle and last frame."""

    durations_ms: list[int]
    samples: list[Image.Image]


def read_frames(image: Image.Image, frame_count: int) -> FrameInfo:
    """Decode every frame once, so that a broken one is found before anything is written."""
    durations_ms: list[int] = []
    samples: list[Image.Image] = []
    sample_indexes = {0, frame_count // 2, frame_count - 1}
    for index in range(frame_count):
        image.seek(index)
        image.load()
        durations_ms.append(int(image.info.get("duration") or _DEFAULT_DURATION_MS))
        if index in sample_indexes:
            samples.append(normalize_pixels(image.copy()))
    image.seek(0)
    return FrameInfo(durations_ms, samples)


def encode_animation(
    image: Image.Image, frames: FrameInfo, task: ImageTask, result: ImageResult, *, exif: bytes
) -> ImageResult:
    """Write all frames at one quality, the highest that any sample needs. Raises EncodingFailedError."""
    # The frames count together toward the formats' size limits.
    size = (image.width, image.height * result.frame_count)
    format_name = choose_format(task.options, size, is_animated=True)
    choices = [choose_quality(build_sample(frame), format_name, task.options) for frame in frames.samples]
    quality = max(choice.quality for choice in choices)
    result = replace(result, quality=quality, similarity=min(choice.similarity for choice in choices))
    if not all(choice.is_similar_enough for choice in choices):
        return replace(result, reason="below_min_similarity")
    encoded = encode_frames(image, format_name, quality, durations_ms=frames.durations_ms, exif=exif)
    return write_result(encoded, format_name, task, result)
