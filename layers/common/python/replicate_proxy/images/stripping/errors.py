"""Why a file is not taken apart."""

from __future__ import annotations


class UnknownStructureError(ValueError):
    """The file is not built as the standards say, or in a way that is not known here: leave it alone."""
