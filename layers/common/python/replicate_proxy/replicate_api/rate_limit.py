"""A rate limit that all functions share, in one record of the control table.

The algorithm is the generic cell rate algorithm (GCRA), which stores one number: `next_free_at`, the time of
the next call if all calls so far had been spread evenly. A slot is free while that time is less than one
burst ahead of now. Times are Unix time in whole milliseconds.

Source of Replicate's limits: its documentation, "Rate limits" (600 creates and 3,000 other calls per minute,
short bursts above).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

from replicate_proxy.aws.control_table import ConditionFailedError
from replicate_proxy.contracts.commands import MAX_MESSAGE_DELAY_SECONDS
from replicate_proxy.errors import RetryableError
from replicate_proxy.observability import logger

if TYPE_CHECKING:
    from collections.abc import Mapping

    from replicate_proxy.aws.control_table import ControlTable
    from replicate_proxy.ports import Clock


_MAX_UPDATE_ATTEMPTS = 6
_MINUTE_MS = 60_000


_MAX_TENANTS = 1000


@dataclass(frozen=True, slots=True)
class RateLimit:
    """`per_minute` calls on average, `burst` of them at once."""

    per_minute: float
    burst: int

    @property
    def interval_ms(self) -> int:
        return max(1, round(_MINUTE_MS / self.per_minute))


@dataclass(frozen=True, slots=True)
class RateLimitRecord:
    """The stored state.

    `reduced_until` and `reduced_interval_ms` are those of a temporary lower limit. `retry_at` is the time
    given to the caller that was rejected last.
    """

    next_free_at: int = 0
    reduced_until: int = 0
    reduced_interval_ms: int = 0
    retry_at: int = 0

    @classmethod
    def parse(cls, attributes: Mapping[str, Any]) -> Self:
        return cls(**{name: int(attributes.get(name, 0)) for name in cls.__dataclass_fields__})

    def is_reduced(self, now: int) -> bool:
        return self.reduced_until > now

    def get_interval_ms(self, now: int, limit: RateLimit) -> int:
        """Return the time between two calls; `limit` applies unless it is reduced."""
        return self.reduced_interval_ms if self.is_reduced(now) else limit.interval_ms

    def calculate_latest_free_at(self, now: int, limit: RateLimit) -> int:
        """Return the latest `next_free_at` at which a slot is free; a reduced limit allows no burst."""
        return now + (0 if self.is_reduced(now) else (limit.burst - 1) * limit.interval_ms)

    def calculate_wait_ms(self, now: int, limit: RateLimit, slots: int = 1) -> int:
        """Return the time until so many slots are free, 0 if they are free now."""
        last_free_at = max(self.next_free_at, now) + (slots - 1) * self.get_interval_ms(now, limit)
        return max(0, last_free_at - self.calculate_latest_free_at(now, limit))


@dataclass(frozen=True, slots=True)
class RateLimitState:
    """The limit that applies now, and how many calls may be made at once.

    `retry_at` is when the next slot is free if none is, `reduced_until` when a reduced limit ends.
    """

    limit_per_minute: float
    burst: int
    remaining: int
    retry_at: datetime | None
    reduced_until: datetime | None


class RateLimiter:
    """Hands out the slots of one rate limit. A call costs one write, or two if the cached record is stale.

    Callers with a `reserve` leave so many slots of the burst to others, which share the limit by its name.
    Those who were rejected wait in a line of their own then.
    """

    def __init__(
        self, table: ControlTable, name: str, limit: RateLimit, clock: Clock, *, reserve: int = 0
    ) -> None:
        self._table = table
        self._key = f"RATE#{name}"
        self._limit = replace(limit, burst=max(limit.burst - reserve, 1))
        self._clock = clock
        self._retry_attribute = "reserved_retry_at" if reserve else "retry_at"
        self._record = RateLimitRecord()

    def acquire_slot(self, slots: int = 1) -> float:
        """Return 0 if a slot was free and is now taken, else the seconds after which to try again.

        With `slots`, so many are taken, or none; they must not be more than the burst.
        Rejected callers get times one interval apart, so that they do not all return at the same moment.
        While the table is unavailable, every caller gets a slot: Replicate enforces its own limit with 429,
        and this one only keeps us below it.
        """
        try:
            return self._acquire_slots(slots)
        except RetryableError as error:
            logger.warning("rate limiter unavailable", reason=str(error))
            return 0.0

    def read_state(self) -> RateLimitState:
        """Return the stored state. Raises RetryableError."""
        record, now = RateLimitRecord.parse(self._table.read(self._key)), self._now_ms()
        is_reduced, interval_ms = record.is_reduced(now), record.get_interval_ms(now, self._limit)
        ahead_ms = record.calculate_latest_free_at(now, self._limit) - max(record.next_free_at, now)
        remaining = ahead_ms // interval_ms + 1 if ahead_ms >= 0 else 0
        retry_at = max(record.retry_at, now + record.calculate_wait_ms(now, self._limit))
        return RateLimitState(
            limit_per_minute=round(_MINUTE_MS / interval_ms if is_reduced else self._limit.per_minute, 1),
            burst=1 if is_reduced else self._limit.burst,
            remaining=remaining,
            retry_at=None if remaining else _to_datetime(retry_at),
            reduced_until=_to_datetime(record.reduced_until) if is_reduced else None,
        )

    def reduce_limit(self, limit_per_minute: float, *, for_seconds: float) -> None:
        """Limit all functions to `limit_per_minute`, without bursts, for `for_seconds`."""
        now = self._now_ms()
        interval_ms = RateLimit(limit_per_minute, burst=1).interval_ms
        try:
            self._update(
                "SET reduced_until = :reduced_until, reduced_interval_ms = :interval_ms,"
                " next_free_at = :next_free_at, retry_at = :now",
                {
                    "reduced_until": now + round(for_seconds * 1000),
                    "interval_ms": interval_ms,
                    "next_free_at": now + interval_ms,
                    "now": now,
                },
            )
        except RetryableError as error:
            logger.warning("rate limiter unavailable", reason=str(error))

    def _acquire_slots(self, slots: int) -> float:
        for _ in range(_MAX_UPDATE_ATTEMPTS):
            now = self._now_ms()
            wait_ms = self._record.calculate_wait_ms(now, self._limit, slots)
            try:
                if wait_ms > 0:
                    return self._reject(now, wait_ms)
                self._take_slots(now, slots)
            except ConditionFailedError as error:
                self._record = self._parse(error.record)
            else:
                return 0.0
        return self._record.get_interval_ms(self._now_ms(), self._limit) / 1000

    def _take_slots(self, now: int, slots: int) -> None:
        """Raise ConditionFailedError if the cached record is stale (slot taken or rate changed)."""
        record = self._record
        interval_ms = record.get_interval_ms(now, self._limit)
        values = {"now": now}
        if record.is_reduced(now):
            same_rate = "reduced_until = :reduced_until AND reduced_interval_ms = :interval_ms"
            values |= {"reduced_until": record.reduced_until, "interval_ms": interval_ms}
        else:
            same_rate = "(attribute_not_exists(reduced_until) OR reduced_until <= :now)"
        if record.next_free_at <= now:
            expression = "SET next_free_at = :next_free_at"
            slot_free = "(attribute_not_exists(next_free_at) OR next_free_at <= :now)"
            values |= {"next_free_at": now + slots * interval_ms}
        else:
            expression = "SET next_free_at = next_free_at + :taken_ms"
            slot_free = "next_free_at > :now AND next_free_at <= :latest"
            latest_free_at = record.calculate_latest_free_at(now, self._limit)
            values |= {
                "taken_ms": slots * interval_ms,
                "latest": latest_free_at - (slots - 1) * interval_ms,
            }
        self._update(expression, values, condition=f"{slot_free} AND {same_rate}")

    def _reject(self, now: int, wait_ms: int) -> float:
        # The usual interval applies also while the limit is reduced, as the reduction may end before a queue
        # that is spread over the reduced interval.
        name = self._retry_attribute
        if self._record.retry_at > now:
            expression, condition = f"SET {name} = {name} + :interval_ms", f"{name} > :now"
            values = {"interval_ms": self._limit.interval_ms, "now": now}
        else:
            expression = f"SET {name} = :retry_at"
            condition = f"attribute_not_exists({name}) OR {name} <= :now"
            values = {"retry_at": now + wait_ms, "now": now}
        self._update(expression, values, condition=condition)
        return min(max(self._record.retry_at - now, wait_ms) / 1000, MAX_MESSAGE_DELAY_SECONDS)

    def _update(self, expression: str, values: Mapping[str, int], *, condition: str | None = None) -> None:
        attributes = self._table.update(self._key, expression, values, condition=condition)
        self._record = self._parse(attributes)

    def _parse(self, attributes: Mapping[str, Any]) -> RateLimitRecord:
        return RateLimitRecord.parse({**attributes, "retry_at": attributes.get(self._retry_attribute, 0)})

    def _now_ms(self) -> int:
        return round(self._clock.now().timestamp() * 1000)


def _to_datetime(unix_ms: int) -> datetime:
    return datetime.fromtimestamp(unix_ms / 1000, UTC)


class TenantRateLimiter:
    """A rate limit of its own for each tenant, which costs nothing for tenants that do not call."""

    def __init__(self, table: ControlTable, name: str, limit: RateLimit, clock: Clock) -> None:
        self._table = table
        self._name = name
        self._limit = limit
        self._clock = clock
        self._limiters: dict[str, RateLimiter] = {}

    def acquire_slot(self, tenant: str, slots: int = 1) -> float:
        """Return 0 if so many slots of the tenant were free and are now taken, else when to try again."""
        if len(self._limiters) >= _MAX_TENANTS:
            self._limiters.clear()  # they only cache what the table holds
        limiter = RateLimiter(self._table, f"{self._name}/{tenant}", self._limit, self._clock)
        return self._limiters.setdefault(tenant, limiter).acquire_slot(slots)
