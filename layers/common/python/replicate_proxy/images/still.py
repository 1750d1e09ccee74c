"""A picture that does not move."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from replicate_proxy.images.colour import to_display
from replicate_proxy.images.describe import describe
from replicate_proxy.images.encode import encode, encode_lossless
from replicate_proxy.images.job import Job, store, target_of
from replicate_proxy.images.metadata import copyright_exif
from replicate_proxy.images.quality import choose_quality, sample_of

if TYPE_CHECKING:
    from PIL import Image

    from replicate_proxy.images.result import ImageResult

__all__ = ["compress_still"]

_FEW_COLOURS = 256


def compress_still(image: Image.Image, job: Job, facts: ImageResult) -> ImageResult:
    """The image at the lowest quality that reaches the floor; a drawing of few colours without loss if that
    is smaller.
    """
    exif = copyright_exif(image) if job.options.keep_copyright else b""
    shown = to_display(image)
    facts = describe(facts, shown, image, job)
    if job.options.format == "original":
        return replace(facts, reason="asked_for_original")
    target = target_of(job.options, transparent=shown.mode == "RGBA")
    sample = sample_of(shown)
    choice = choose_quality(sample, target, job.options, exif=exif)
    facts = replace(facts, quality=choice.quality, similarity=choice.similarity)
    encoded = choice.encoded if sample is shown else encode(shown, target, choice.quality, exif=exif)
    if target == "webp" and shown.getcolors(_FEW_COLOURS) is not None:
        lossless = encode_lossless(shown, exif=exif)
        if len(lossless) <= len(encoded) or not choice.reached:
            return store(lossless, target, job, replace(facts, quality=None, similarity=1.0))
    if not choice.reached:
        return replace(facts, reason="below_similarity_floor")
    return store(encoded, target, job, facts)
