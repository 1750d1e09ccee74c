"""What is told about an image beside its new bytes: size, thumbnail, placeholder, the models' own texts."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from PIL import Image

from replicate_proxy.images.encode import encode
from replicate_proxy.images.metadata import text_metadata
from replicate_proxy.images.placeholder import blurhash

if TYPE_CHECKING:
    from replicate_proxy.images.job import Job
    from replicate_proxy.images.result import ImageResult

__all__ = ["describe"]

_THUMBNAIL_QUALITY = 75
# Averages whole blocks before the filter runs: a third of the time, and no difference to see at this size.
_REDUCING_GAP = 1.1


def describe(facts: ImageResult, shown: Image.Image, source: Image.Image, job: Job) -> ImageResult:
    """`facts` completed from the normalised pixels and the source's metadata; writes the thumbnail file
    (WebP).
    """
    edge = job.options.thumbnail_px
    scale = min(1.0, edge / shown.width, edge / shown.height)
    size = (max(1, round(shown.width * scale)), max(1, round(shown.height * scale)))
    small = shown.resize(size, Image.Resampling.BICUBIC, reducing_gap=_REDUCING_GAP)
    written = job.thumbnail.write_bytes(encode(small, "webp", _THUMBNAIL_QUALITY))
    return replace(
        facts,
        width=shown.width,
        height=shown.height,
        placeholder=blurhash(small),
        thumbnail_bytes=written,
        text=text_metadata(source, max_bytes=job.limits.text_bytes),
    )
