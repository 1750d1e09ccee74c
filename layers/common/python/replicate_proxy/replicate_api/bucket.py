"""The arithmetic of a shared rate limit, in whole milliseconds of Unix time. Pure.

It is the generic cell rate algorithm, which needs one number: `next_free`, the time at which a caller that
never bursts would be served next. A place is free while that lies less than a burst ahead of now.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Bucket", "Pace"]

_MINUTE = 60_000


@dataclass(frozen=True, slots=True)
class Pace:
    """`per_minute` calls in the long run, `burst` of them at once."""

    per_minute: float
    burst: int

    @property
    def interval(self) -> int:
        return max(1, round(_MINUTE / self.per_minute))


@dataclass(frozen=True, slots=True)
class Bucket:
    """What is stored: `slow_*` while Replicate holds us to a lower rate, `back_at` for the last caller sent
    away.
    """

    next_free: int = 0
    slow_until: int = 0
    slow_interval: int = 0
    back_at: int = 0

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Bucket:
        return cls(
            **{
                name: int(record.get(name, 0))
                for name in ("next_free", "slow_until", "slow_interval", "back_at")
            }
        )

    def slow(self, now: int) -> bool:
        return self.slow_until > now

    def interval(self, now: int, usual: Pace) -> int:
        return self.slow_interval if self.slow(now) else usual.interval

    def latest(self, now: int, usual: Pace) -> int:
        """A place is free while `next_free` is no later than this."""
        return now + (0 if self.slow(now) else (usual.burst - 1) * usual.interval)

    def wait(self, now: int, usual: Pace) -> int:
        """Milliseconds until a place is free, 0 where one is."""
        return max(0, self.next_free - self.latest(now, usual))
