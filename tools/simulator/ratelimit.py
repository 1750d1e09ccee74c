"""The limit on creates, and the rate-limit headers of every reply."""

import math
import time
from collections.abc import Callable

from tools.simulator.settings import Knobs

_USUAL = {"create": 599, "get": 59_999}  # as recorded on unthrottled accounts
_USUAL_OTHER = 2_999


class CreateLimit:
    """A token bucket, refilled continuously; unlimited while the setting is None."""

    def __init__(self, knobs: Callable[[], Knobs]) -> None:
        self._knobs = knobs
        self._tokens: float | None = None
        self._refilled = time.monotonic()

    def wait(self) -> int | None:
        """Spend one token; None if there was one, else the whole seconds until there will be."""
        knobs = self._knobs()
        rate = knobs.rate_limit_per_minute
        if rate is None:
            self._tokens = None
            return None
        now = time.monotonic()
        held = knobs.rate_limit_burst if self._tokens is None else self._tokens
        held = min(knobs.rate_limit_burst, held + (now - self._refilled) * rate / 60)
        self._refilled = now
        if held < 1:
            self._tokens = held
            return max(1, math.ceil((1 - held) * 60 / rate))
        self._tokens = held - 1
        return None

    def headers(self, endpoint: str) -> list[tuple[bytes, bytes]]:
        """`ratelimit-remaining` and `ratelimit-reset` of a reply."""
        remaining = _USUAL.get(endpoint, _USUAL_OTHER)
        if endpoint == "create" and self._tokens is not None:
            remaining = int(self._tokens)
        return [(b"ratelimit-remaining", str(remaining).encode()), (b"ratelimit-reset", b"1")]
