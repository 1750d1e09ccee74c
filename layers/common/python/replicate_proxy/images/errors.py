"""Why an image cannot be used, as a `Reason`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicate_proxy.errors import PermanentError

if TYPE_CHECKING:
    from replicate_proxy.images.result import Reason

__all__ = ["EncodingFailedError", "UnreadableImageError"]


class EncodingFailedError(PermanentError):
    """The image was read but could not be written in the format wanted; the source is kept."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason: Reason = reason


class UnreadableImageError(PermanentError):
    """The file is not an image that we decode; the original is kept as it is."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason: Reason = reason
