"""A value that is read again after some seconds, and kept while it cannot be read."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from replicate_proxy.errors import RetryableError
from replicate_proxy.observability import logger

if TYPE_CHECKING:
    from collections.abc import Callable


class CachedReading[Value]:
    """What `read` returned at most `max_age_seconds` ago, or before that while reading fails.

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

    def get(self) -> Value:
        """Return the value. Raises RetryableError if it was never read."""
        if self._value is not None and self._monotonic() < self._fresh_until:
            return self._value
        try:
            self._value = self._read()
        except RetryableError as error:
            if self._value is None:
                raise
            logger.warning(f"{self._name} not read again", reason=str(error))
        self._fresh_until = self._monotonic() + self._max_age_seconds
        return self._value
