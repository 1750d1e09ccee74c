"""Polling with a time limit."""

import time
from collections.abc import Callable

from tools.local.errors import LocalError

_POLL_INTERVAL_SECONDS = 0.1


def wait_for[T](
    poll: Callable[[], T | None],
    *,
    timeout_seconds: float,
    description: str,
    is_alive: Callable[[], bool] = lambda: True,
) -> T:
    """Call `poll` until it returns a value other than None and False, and return that value.

    Raises `LocalError` after the timeout, or as soon as `is_alive` returns false. The description says in the
    message what was expected, as a noun phrase.
    """
    deadline = time.monotonic() + timeout_seconds
    while time.monotonic() < deadline:
        if not is_alive():
            raise LocalError(f"the process ended while waiting for {description}")
        if (value := poll()) is not None and value is not False:
            return value
        time.sleep(_POLL_INTERVAL_SECONDS)
    raise LocalError(f"timed out after {timeout_seconds:.0f} s waiting for {description}")
