"""Waiting for something with a time limit and a sentence for the case that it never comes."""

import time
from collections.abc import Callable

from tools.local.errors import LocalError

INTERVAL_SECONDS = 0.1


def until[T](
    attempt: Callable[[], T | None], *, seconds: float, what: str, alive: Callable[[], bool] = lambda: True
) -> T:
    """Call `attempt` until it returns something other than None, at most `seconds` long, while `alive()`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and alive():
        if (value := attempt()) is not None:
            return value
        time.sleep(INTERVAL_SECONDS)
    raise LocalError(f"no {what}" + (f" within {seconds:.0f} s" if alive() else ": it ended"))
