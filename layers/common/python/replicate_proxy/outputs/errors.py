"""Why a file stays where the model put it; `reason` is a stable word for records, metrics and log lines."""

from __future__ import annotations

from replicate_proxy.errors import PermanentError, RetryableError

__all__ = ["DeferredError", "FileGoneError", "FileUnavailableError"]


class FileGoneError(PermanentError):
    """No further try will get this file: record it as left."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class FileUnavailableError(RetryableError):
    """This try failed; another may succeed while Replicate still has the file (one hour)."""

    def __init__(self, reason: str, *, retry_after: float | None = None) -> None:
        super().__init__(reason, retry_after=retry_after)
        self.reason = reason


class DeferredError(RetryableError):
    """This invocation has no room or time left for the file: leave it to the next one."""
