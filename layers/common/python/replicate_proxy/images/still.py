"""A picture that does not move."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from replicate_proxy.images.encode import encode, encode_lossless
from replicate_proxy.images.job import Job, hand_over
from replicate_proxy.images.quality import choose_quality, sample_of
from replicate_proxy.images.target import target_of

if TYPE_CHECKING:
    from PIL import Image

    from replicate_proxy.images.result import ImageResult

__all__ = ["compress_still"]

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
