"""Open an image file with Pillow, within limits.

The limits are checked before any pixel is decoded. The measures are those of Pillow's handbook, section
"Security": an allowlist of formats, decompression-bomb warnings as errors, limits on text chunks, no
truncated files.
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


# Imported by name so that Pillow does not load its forty other decoders.
_PLUGINS: Final = (
    PngImagePlugin.PngImageFile,
    JpegImagePlugin.JpegImageFile,
    WebPImagePlugin.WebPImageFile,
    AvifImagePlugin.AvifImageFile,
    GifImagePlugin.GifImageFile,
)
ALLOWED_FORMATS: Final = tuple(plugin.format for plugin in _PLUGINS)
_MAX_TEXT_CHUNK_BYTES: Final = 1024 * 1024
_MAX_TOTAL_TEXT_BYTES: Final = 4 * 1024 * 1024
# What Pillow's plugins raise on broken files.
_DECODER_ERRORS = (
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
    """Set Pillow's process-wide limits."""
    Image.MAX_IMAGE_PIXELS = limits.max_pixels
    warnings.simplefilter("error", Image.DecompressionBombWarning)
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    PngImagePlugin.MAX_TEXT_CHUNK = _MAX_TEXT_CHUNK_BYTES
    PngImagePlugin.MAX_TEXT_MEMORY = _MAX_TOTAL_TEXT_BYTES


@contextmanager
def open_image(path: Path, limits: ImageLimits) -> Iterator[Image.Image]:
    """Open the image at its first frame.

    Raises UnreadableImageError, also in place of decoder errors within the `with` block: pixels are decoded
    there.
    """
    if path.stat().st_size > limits.max_bytes:
        raise UnreadableImageError("too_many_bytes")
    with _translate_decoder_errors(), Image.open(path, formats=ALLOWED_FORMATS) as image:
        _check_dimensions(image, limits)
        yield image


def count_frames(image: Image.Image) -> int:
    """Return the number of frames of an animation, 1 for a still image.

    The further pictures of an MPO file (a JPEG variant) are not frames.
    """
    if image.format in {"MPO", "JPEG"}:
        return 1
    return int(getattr(image, "n_frames", 1))


def _check_dimensions(image: Image.Image, limits: ImageLimits) -> None:
    # First the size of one frame: counting the frames of a GIF reads the whole file.
    pixels = image.width * image.height
    if pixels > limits.max_pixels:
        raise UnreadableImageError("too_many_pixels")
    frame_count = count_frames(image)
    if frame_count > limits.max_frames:
        raise UnreadableImageError("too_many_frames")
    if frame_count * pixels > limits.max_pixels:
        raise UnreadableImageError("too_many_pixels")


@contextmanager
def _translate_decoder_errors() -> Iterator[None]:
    try:
        yield
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UnreadableImageError("too_many_pixels") from error
    except UnidentifiedImageError as error:
        raise UnreadableImageError("format_not_allowed") from error
    except MemoryError as error:
        raise UnreadableImageError("memory_limit") from error
    except _DECODER_ERRORS as error:
        exceeds_text_limit = isinstance(error, ValueError) and "text" in str(error).lower()
        raise UnreadableImageError("text_limit" if exceeds_text_limit else "broken") from error
