"""Opening a file as an image, with every limit looked at before pixels are decoded.

After Pillow's own threat model (Pillow handbook, "Security"): a format allow-list, decompression-bomb
warnings as errors, limits on text chunks, truncated files refused.
"""

from __future__ import annotations

import struct
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from PIL import (
    AvifImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    UnidentifiedImageError,
    WebPImagePlugin,
)

from replicate_proxy.images.task import UnreadableImageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from replicate_proxy.images.task import ImageLimits


# Imported by name so that Pillow never loads its forty other decoders.
_PLUGINS: Final = (
    PngImagePlugin.PngImageFile,
    JpegImagePlugin.JpegImageFile,
    WebPImagePlugin.WebPImageFile,
    AvifImagePlugin.AvifImageFile,
    GifImagePlugin.GifImageFile,
)
ALLOWED_FORMATS: Final = tuple(plugin.format for plugin in _PLUGINS)
_TEXT_CHUNK_BYTES: Final = 1024 * 1024
_TEXT_TOTAL_BYTES: Final = 4 * 1024 * 1024
_BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    struct.error,
    LookupError,
    TypeError,
    ArithmeticError,
    AttributeError,
    RuntimeError,
)


def configure_pillow(limits: ImageLimits) -> None:
    """Pillow's process-wide switches; called once when the child starts."""
    Image.MAX_IMAGE_PIXELS = limits.max_pixels
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    PngImagePlugin.MAX_TEXT_CHUNK = _TEXT_CHUNK_BYTES
    PngImagePlugin.MAX_TEXT_MEMORY = _TEXT_TOTAL_BYTES


@contextmanager
def open_image(path: Path, limits: ImageLimits) -> Iterator[Image.Image]:
    """The opened image, its first frame current. Raises UnreadableImageError, also for what fails inside the
    block.
    """
    if path.stat().st_size > limits.max_bytes:
        raise UnreadableImageError("too_many_bytes")
    with _translated(), Image.open(path, formats=ALLOWED_FORMATS) as image:
        _check_size(image, limits)
        yield image


def frame_count(image: Image.Image) -> int:
    """Frames of an animation, 1 for a still. MPO's further pictures are no frames."""
    if image.format in {"MPO", "JPEG"}:
        return 1
    return int(getattr(image, "n_frames", 1))


def _check_size(image: Image.Image, limits: ImageLimits) -> None:
    pixels = image.width * image.height
    if pixels > limits.max_pixels:
        raise UnreadableImageError("too_many_pixels")
    frames = frame_count(image)
    if frames > limits.max_frames:
        raise UnreadableImageError("too_many_frames")
    if frames * pixels > limits.max_pixels:
        raise UnreadableImageError("too_many_pixels")


@contextmanager
def _translated() -> Iterator[None]:
    """Decoders' errors become one of ours; the list is what Pillow's plugins raise on broken input."""
    try:
        yield
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UnreadableImageError("too_many_pixels") from error
    except UnidentifiedImageError as error:
        raise UnreadableImageError("format_not_allowed") from error
    except MemoryError as error:
        raise UnreadableImageError("memory_limit") from error
    except _BROKEN as error:
        text_limit = isinstance(error, ValueError) and "text" in str(error).lower()
        raise UnreadableImageError("text_limit" if text_limit else "broken") from error
