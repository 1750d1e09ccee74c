"""Remove metadata from image files without decoding them, one module for each format.

What follows the end of the image is removed too, so that no second file travels inside the first.
"""

from __future__ import annotations


class UnknownStructureError(ValueError):
    """The file violates its standard, or is built in a way that is not supported here: leave it as it is."""
