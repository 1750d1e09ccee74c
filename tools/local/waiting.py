"""Waiting for something with a time limit and a sentence for the case that it never comes."""

import time
from collections.abc import Callable

from tools.local.errors import LocalError

INTERVAL_SECONDS = 0.1


def wait_for[T](
    poll: Callable[[], T | None],
    *,
    timeout_seconds: float,
    description: str,
    is_alive: Callable[[], bool] = lambda: True,
) -> T:
    """Call `attempt` until it returns something other than None, at most `seconds` long, while `alive()`."""
    deadline = time.monotonic() + timeout_seconds
    while time.monotonic() < deadline and is_alive():
        if (value := poll()) is not None:
            return value
        time.sleep(INTERVAL_SECONDS)
    raise LocalError(
        f"no {description}" + (f" within {timeout_seconds:.0f} s" if is_alive() else ": it ended")
    )
