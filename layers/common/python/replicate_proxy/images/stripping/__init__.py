"""Remove metadata from image files without decoding them, one module for each format.

What follows the end of the image is removed too, so that it cannot hide another file.
"""

from __future__ import annotations


class UnknownStructureError(ValueError):
    """The file violates its standard or uses an unsupported part of it, so it is not changed."""
