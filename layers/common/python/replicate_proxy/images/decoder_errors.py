"""What Pillow's plugins raise on broken files, and what it means."""

from __future__ import annotations

import struct
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from PIL import Image, UnidentifiedImageError

from replicate_proxy.images.task import UnreadableImageError

if TYPE_CHECKING:
    from collections.abc import Iterator


DECODER_ERRORS: Final = (
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


@contextmanager
def translate_decoder_errors() -> Iterator[None]:
    """Raise UnreadableImageError in place of decoder errors."""
    try:
        yield
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UnreadableImageError("too_many_pixels") from error
    except UnidentifiedImageError as error:
        raise UnreadableImageError("format_not_allowed") from error
    except MemoryError as error:
        raise UnreadableImageError("memory_limit") from error
    except DECODER_ERRORS as error:
        raise UnreadableImageError("broken") from error
