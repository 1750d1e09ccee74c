"""A value that is read again after some seconds, and kept for a minute while it cannot be read."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from replicate_proxy.errors import RetryableError
from replicate_proxy.observability import logger

if TYPE_CHECKING:
    from collections.abc import Callable


# Functions may do nothing for an hour: what was read before that says nothing about what operators have
# stopped since.
_MAX_KEPT_SECONDS = 60.0


class CachedReading[Value]:
    """What `read` returned at most `max_age_seconds` ago, or in the last minute while reading fails.

    `name` says in the log what was not read.
    """

    def __init__(
        self,
        name: str,
        read: Callable[[], Value],
        *,
        max_age_seconds: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._read = read
        self._max_age_seconds = max_age_seconds
        self._monotonic = monotonic
        self._value: Value | None = None
        self._fresh_until = 0.0
        self._kept_until = 0.0

    def get(self) -> Value:
        """Return the value. Raises RetryableError if it was not read in the last minute."""
        now = self._monotonic()
        if self._value is not None and now < self._fresh_until:
            return self._value
        try:
            self._value = self._read()
            self._kept_until = now + _MAX_KEPT_SECONDS
        except RetryableError as error:
            if self._value is None or now >= self._kept_until:
                raise
            logger.warning(f"{self._name} not read again", reason=str(error))
        self._fresh_until = min(self._monotonic() + self._max_age_seconds, self._kept_until)
        return self._value
