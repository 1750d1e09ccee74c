"""The scenarios of the load test, without locust: they are also read where locust is not installed."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import cycle, islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

USERS_PER_CREATE = 5
"""So many users make one create a second: a slow response delays the next request of one of them only."""
_BURST_SECONDS = 10
_QUIET_SHARE = 0.2
_BURST_FACTOR = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What is sent: `rate` is in creates a second, `reads` is the number of reads for each create.

    `shares` are those of the tenants; one that sends most shows whether the others wait for it.
    """

    description: str
    seconds: int = 60
    rate: float = 3.0
    reads: int = 2
    has_bursts: bool = False
    shares: tuple[int, ...] = (1,)

    def count_users(self, rate: float, elapsed: float) -> int:
        """Return how many users are active after `elapsed` seconds."""
        factor = 1.0
        if self.has_bursts:
            factor = _BURST_FACTOR if int(elapsed / _BURST_SECONDS) % 2 else _QUIET_SHARE
        return max(1, round(rate * factor * USERS_PER_CREATE))

    def choose_tenants(self, keys: Sequence[str]) -> list[str]:
        """Return keys, each as often as its tenant's share says. Users take them in turn."""
        shares = islice(cycle(self.shares), max(len(keys), 1))
        return [key for key, share in zip(keys, shares, strict=True) for _ in range(share)]


SCENARIOS: Mapping[str, Scenario] = {
    "steady": Scenario(description="one tenant at a steady rate"),
    "burst": Scenario(
        description="ten seconds at a fifth of the rate, ten at three times the rate", has_bursts=True
    ),
    "soak": Scenario(description="half an hour at a low rate", seconds=1800, rate=1.0),
    "mixed": Scenario(description="one tenant sends as much as four others together", shares=(4, 1, 1, 1, 1)),
    "reads": Scenario(description="nine reads for each create", reads=9, rate=1.5),
}
