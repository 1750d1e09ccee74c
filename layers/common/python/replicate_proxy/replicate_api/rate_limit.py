"""The arithmetic of a shared rate limit, in whole milliseconds of Unix time. Pure.

It is the generic cell rate algorithm, which needs one number: `next_free`, the time at which a caller that
never bursts would be served next. A place is free while that lies less than a burst ahead of now.

Keeping our calls below Replicate's rate limits, together with all other functions that call.

Source of the limits: Replicate's rate-limit page (600 creates and 3,000 other calls a minute, short bursts
above).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from replicate_proxy.aws.control_table import OvertakenError
from replicate_proxy.errors import RetryableError
from replicate_proxy.observability import logger

if TYPE_CHECKING:
    from collections.abc import Mapping

    from replicate_proxy.aws.control_table import ControlTable, Record
    from replicate_proxy.ports import Clock


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


MAX_WAIT_SECONDS = 900
_TRIES = 6
_USUAL_PACE = "(attribute_not_exists(slow_until) OR slow_until <= :now)"
_SLOW_PACE = "slow_until = :slow_until AND slow_interval = :interval"


class RateLimiter:
    """A token bucket in one record. A call costs one write; where the last reading is outdated, two."""

    def __init__(self, table: ControlTable, name: str, pace: Pace, clock: Clock) -> None:
        self._table = table
        self._key = f"RATE#{name}"
        self._pace = pace
        self._clock = clock
        self._seen = Bucket()

    def take(self) -> float:
        """0 where a place was free and is now taken, else the seconds after which to ask again.

        Those sent away are told times one interval apart, so that a thousand parked calls do not all come
        back at the same moment. While the table cannot be reached everybody passes: the limit that counts is
        Replicate's own 429, and ours only spares it.
        """
        try:
            return self._take()
        except RetryableError as error:
            logger.warning("rate limiter not reachable", reason=str(error))
            return 0.0

    def slow_down(self, limit_per_minute: float, *, for_seconds: float) -> None:
        """Holds everybody to `limit_per_minute`, one at a time, until that long from now."""
        try:
            self._slow_down(limit_per_minute, for_seconds)
        except RetryableError as error:
            logger.warning("rate limiter not reachable", reason=str(error))

    def _take(self) -> float:
        for _ in range(_TRIES):
            now = self._now()
            wait = self._seen.wait(now, self._pace)
            try:
                if wait > 0:
                    return self._send_away(now, wait)
                self._spend(now)
            except OvertakenError as overtaken:
                self._see(overtaken.record)
            else:
                return 0.0
        return self._seen.interval(self._now(), self._pace) / 1000

    def _slow_down(self, limit_per_minute: float, for_seconds: float) -> None:
        now = self._now()
        interval = Pace(limit_per_minute, 1).interval
        self._see(
            self._table.change(
                self._key,
                "SET slow_until = :slow_until, slow_interval = :interval,"
                " next_free = :next_free, back_at = :now",
                {
                    "slow_until": now + round(for_seconds * 1000),
                    "interval": interval,
                    "next_free": now + interval,
                    "now": now,
                },
            )
        )

    def _spend(self, now: int) -> None:
        bucket = self._seen
        interval = bucket.interval(now, self._pace)
        values: dict[str, int] = {"now": now, "interval": interval}
        if bucket.slow(now):
            pace, values["slow_until"] = _SLOW_PACE, bucket.slow_until
        else:
            pace = _USUAL_PACE
        if bucket.next_free <= now:
            update = "SET next_free = :next_free"
            free = "(attribute_not_exists(next_free) OR next_free <= :now)"
            values["next_free"] = now + interval
        else:
            update = "SET next_free = next_free + :interval"
            free = "next_free > :now AND next_free <= :latest"
            values["latest"] = bucket.latest(now, self._pace)
        condition = f"{free} AND {pace}"
        used = {name: value for name, value in values.items() if f":{name}" in update + condition}
        self._see(self._table.change(self._key, update, used, condition=condition))

    def _send_away(self, now: int, wait: int) -> float:
        # Also while slowed down: the usual pace may be back before a long line at the slow one has passed.
        interval = self._pace.interval
        if self._seen.back_at > now:
            update, condition = "SET back_at = back_at + :interval", "back_at > :now"
            values = {"interval": interval, "now": now}
        else:
            update, condition = "SET back_at = :back_at", "attribute_not_exists(back_at) OR back_at <= :now"
            values = {"back_at": now + wait, "now": now}
        told = self._see(self._table.change(self._key, update, values, condition=condition))
        return min(max(told.back_at - now, wait) / 1000, MAX_WAIT_SECONDS)

    def _see(self, record: Record) -> Bucket:
        self._seen = Bucket.of(record)
        return self._seen

    def _now(self) -> int:
        return round(self._clock.now().timestamp() * 1000)
