"""The stored state of a circuit breaker: one record of the control table, shared by all functions.

Every transition is a conditional write, so that only one of many functions makes it and the others take over
the stored record. The SDK repeats a write whose response is lost: each one has the same effect when it is
repeated, or recognizes its own effect in the stored record. Times are Unix time in whole milliseconds.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from secrets import token_hex
from typing import TYPE_CHECKING, Any, Self
from uuid import uuid4

from pybreaker import STATE_CLOSED, STATE_HALF_OPEN, STATE_OPEN

from replicate_proxy.aws.control_table import ConditionFailedError
from replicate_proxy.errors import RetryableError
from replicate_proxy.observability import Metric, count, logger

if TYPE_CHECKING:
    from collections.abc import Mapping

    from replicate_proxy.aws.control_table import ControlTable
    from replicate_proxy.ports import Clock

BREAKER_KEY = "BREAKER#replicate"
_NO_OWNER = ""


@dataclass(frozen=True, slots=True)
class BreakerRecord:
    """What is stored. Times are 0 if there was none; `probe_owner` identifies the store that may probe.

    `failure_ids` has a random ID for each failure in a row while the breaker is closed: a set counts each
    failure once, however often its write is repeated.
    """

    state: str = STATE_CLOSED
    failure_ids: frozenset[str] = frozenset()
    opened_at: int = 0
    open_until: int = 0
    opened_by: str = ""
    closed_at: int = 0
    probe_owner: str = ""
    probe_until: int = 0

    @property
    def failures(self) -> int:
        return len(self.failure_ids)

    @classmethod
    def parse(cls, attributes: Mapping[str, Any]) -> Self:
        known = {name: value for name, value in attributes.items() if name in cls.__dataclass_fields__}
        return cls(**{**known, "failure_ids": frozenset(known.get("failure_ids", ()))})


class BreakerStore:
    """Reads and writes the record.

    A read costs a request only if the last one is older than `cache_seconds`. While the table is unavailable
    the last record stays in use: the breaker must not become an outage of its own.
    """

    def __init__(
        self,
        table: ControlTable,
        clock: Clock,
        *,
        key: str = BREAKER_KEY,
        cache_seconds: float,
        probe_lease_seconds: float,
    ) -> None:
        self._table = table
        self._clock = clock
        self._key = key
        self._cache_seconds = cache_seconds
        self._probe_lease_seconds = probe_lease_seconds
        self._owner_id = uuid4().hex
        self._record = BreakerRecord()
        self._read_at: float | None = None

    def read(self, *, fresh: bool = False) -> BreakerRecord:
        """Return the record, at most `cache_seconds` old, or current if `fresh`."""
        age = None if self._read_at is None else time.monotonic() - self._read_at
        if fresh or age is None or age >= self._cache_seconds:
            try:
                self._cache(self._table.read(self._key))
            except RetryableError as error:
                logger.warning("breaker state not readable", reason=str(error))
        return self._record

    def owns_probe(self, record: BreakerRecord) -> bool:
        return record.state == STATE_HALF_OPEN and record.probe_owner == self._owner_id

    def count_failure(self) -> None:
        """Count a failure while the breaker is closed; later ones change nothing."""
        if self.read().state == STATE_CLOSED:
            self._update("ADD failure_ids :id", {"id": {token_hex(4)}})

    def reset_failures(self) -> None:
        if self.read().failures:
            self._update("REMOVE failure_ids", {})

    def open(self, opened_by: str, *, seconds: float, force: bool = False) -> None:
        """Open the breaker for `seconds`, if it is closed or this store owns the probe.

        A call that began before the breaker opened must not end the probe of another one. `force` opens it in
        any state, and replaces an earlier end.
        """
        now = self._now_ms()
        values = {
            "open": STATE_OPEN,
            "now": now,
            "until": now + round(seconds * 1000),
            "opened_by": opened_by,
            "no_owner": _NO_OWNER,
        }
        not_open = "attribute_not_exists(#state) OR #state <> :open"
        is_mine = "attribute_not_exists(#state) OR #state = :closed OR probe_owner = :owner"
        is_opened = self._update(
            "SET #state = :open, opened_at = :now, open_until = :until, opened_by = :opened_by,"
            " probe_owner = :no_owner",
            values if force else {**values, "closed": STATE_CLOSED, "owner": self._owner_id},
            condition=f"{not_open} OR open_until < :until" if force else is_mine,
        )
        if is_opened:
            count(Metric.BREAKER_OPENED)
            logger.warning("circuit breaker opened", opened_by=opened_by, breaker=self._key)

    def claim_probe(self) -> bool:
        """Claim the one probe if it is due, or if the lease of an earlier one has ended."""
        now = self._now_ms()
        record = self.read()
        is_due = record.state == STATE_OPEN and record.open_until <= now
        is_abandoned = record.state == STATE_HALF_OPEN and record.probe_until <= now
        until = now + round(self._probe_lease_seconds * 1000)
        if not (is_due or is_abandoned):
            return False
        is_claimed = self._update(
            "SET #state = :half_open, probe_owner = :owner, probe_until = :until",
            {
                "half_open": STATE_HALF_OPEN,
                "open": STATE_OPEN,
                "owner": self._owner_id,
                "until": until,
                "now": now,
            },
            condition="(#state = :open AND open_until <= :now)"
            " OR (#state = :half_open AND probe_until <= :now)",
        )
        return is_claimed or (self.owns_probe(self._record) and self._record.probe_until == until)

    def close(self, *, force: bool = False) -> None:
        """Close the breaker if this store owns the probe; `force` closes it in any state."""
        values = {"closed": STATE_CLOSED, "now": self._now_ms(), "no_owner": _NO_OWNER}
        is_closed = self._update(
            "SET #state = :closed, closed_at = :now, probe_owner = :no_owner REMOVE failure_ids",
            values if force else {**values, "owner": self._owner_id},
            condition=None if force else "probe_owner = :owner",
        )
        if is_closed:
            count(Metric.BREAKER_CLOSED)
            logger.info("circuit breaker closed", breaker=self._key)

    def _update(self, expression: str, values: Mapping[str, Any], *, condition: str | None = None) -> bool:
        """Return whether the record was written. If the condition is not met, cache the stored record."""
        try:
            self._cache(self._table.update(self._key, expression, values, condition=condition))
        except ConditionFailedError as error:
            self._cache(error.record)
            return False
        except RetryableError as error:
            logger.warning("breaker state not writable", reason=str(error))
            return False
        return True

    def _cache(self, attributes: Mapping[str, Any]) -> None:
        self._record = BreakerRecord.parse(attributes)
        self._read_at = time.monotonic()

    def _now_ms(self) -> int:
        return round(self._clock.now().timestamp() * 1000)
