"""The circuit breaker's memory, shared by all functions, in the form that `pybreaker` asks for.

One record holds the state. Every transition is a conditional write, so that of many functions that want to
make it one does; the others take over what they find. Reading costs a request only every few seconds.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from pybreaker import STATE_CLOSED, STATE_HALF_OPEN, STATE_OPEN, CircuitBreakerStorage

from replicate_proxy.aws.control_table import ConditionFailedError
from replicate_proxy.errors import RetryableError
from replicate_proxy.observability import Metric, count, logger

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from replicate_proxy.aws.control_table import ControlTable
    from replicate_proxy.ports import Clock


class ProbeTakenError(Exception):
    """Somebody else is probing, or it is too early to."""


@dataclass(frozen=True, slots=True)
class BreakerRecord:
    """What is stored. Times are Unix milliseconds, 0 if never; `probe` names the process that may probe."""

    state: str = STATE_CLOSED
    failures: int = 0
    successes: int = 0
    opened_at: int = 0
    open_until: int = 0
    opened_by: str = ""
    closed_at: int = 0
    probe: str = ""
    probe_until: int = 0

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> BreakerRecord:
        known = {name: value for name, value in record.items() if name in cls.__dataclass_fields__}
        return cls(**known)


class DynamoBreakerStorage(CircuitBreakerStorage):
    """`reset_timeout` is how long an open breaker stays shut, `probe_lease` how long one probe may take,
    `freshness` how old a reading may be; all in seconds. Where the table fails for a passing reason, the last
    reading stands: the breaker must not become the thing that breaks.
    """

    def __init__(
        self,
        table: ControlTable,
        clock: Clock,
        *,
        name: str = "replicate",
        reset_timeout: float = 30.0,
        probe_lease: float = 60.0,
        freshness: float = 2.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(name)
        self.reason = "failures"
        self._table = table
        self._key = f"BREAKER#{name}"
        self._clock = clock
        self._reset = timedelta(seconds=reset_timeout)
        self._lease = timedelta(seconds=probe_lease)
        self._freshness = freshness
        self._monotonic = monotonic
        self._me = uuid4().hex
        self._seen = BreakerRecord()
        self._seen_at: float | None = None

    def record(self, *, fresh: bool = False) -> BreakerRecord:
        """The record, at most `freshness` seconds old."""
        age = None if self._seen_at is None else self._monotonic() - self._seen_at
        if fresh or age is None or age >= self._freshness:
            try:
                self._see(self._table.read(self._key))
            except RetryableError as error:
                logger.warning("breaker state not readable", reason=str(error))
        return self._seen

    def probing(self, record: BreakerRecord) -> bool:
        """Whether this process holds the probe."""
        return record.state == STATE_HALF_OPEN and record.probe == self._me

    @property
    def state(self) -> str:
        """To all but the one who probes, a half-open breaker is open."""
        record = self.record()
        if record.state == STATE_HALF_OPEN and not self.probing(record):
            return STATE_OPEN
        return record.state

    @state.setter
    def state(self, state: str) -> None:
        {STATE_OPEN: self._open, STATE_HALF_OPEN: self._claim_probe, STATE_CLOSED: self._close}[state]()

    @property
    def counter(self) -> int:
        return self.record().failures

    @property
    def success_counter(self) -> int:
        return self.record().successes

    @property
    def opened_at(self) -> datetime | None:
        """Such that pybreaker's own sum, opening plus timeout, gives `open_until`."""
        until = self.record().open_until
        return datetime.fromtimestamp(until / 1000, UTC) - self._reset if until else None

    @opened_at.setter
    def opened_at(self, moment: datetime) -> None:
        """Written together with the state."""

    def increment_counter(self) -> None:
        self._change("ADD failures :one", {"one": 1})

    def reset_counter(self) -> None:
        if self.record().failures:
            self._change("SET failures = :zero", {"zero": 0})

    def increment_success_counter(self) -> None:
        self._change("ADD successes :one", {"one": 1})

    def reset_success_counter(self) -> None:
        if self.record().successes:
            self._change("SET successes = :zero", {"zero": 0})

    def trip(self, by: str, seconds: float) -> None:
        """Opens by hand, whatever the state, for so long."""
        now = self._now()
        self._write_open(now, now + round(seconds * 1000), by, condition=None)

    def reset(self) -> None:
        """Closes by hand, whatever the state."""
        self._write_closed(condition=None)

    def _open(self) -> None:
        now = self._now()
        until = now + round(self._reset.total_seconds() * 1000)
        self._write_open(now, until, self.reason, condition="attribute_not_exists(#state) OR #state <> :open")

    def _close(self) -> None:
        self._write_closed(condition="probe = :me")

    def _claim_probe(self) -> None:
        now = self._now()
        record = self.record()
        due = record.state == STATE_OPEN and record.open_until <= now
        abandoned = record.state == STATE_HALF_OPEN and record.probe_until <= now
        claimed = (due or abandoned) and self._change(
            "SET #state = :half_open, probe = :me, probe_until = :until, successes = :zero",
            {
                "half_open": STATE_HALF_OPEN,
                "open": STATE_OPEN,
                "me": self._me,
                "until": now + round(self._lease.total_seconds() * 1000),
                "zero": 0,
                "now": now,
            },
            condition="(#state = :open AND open_until <= :now)"
            " OR (#state = :half_open AND probe_until <= :now)",
        )
        if not claimed:
            raise ProbeTakenError

    def _write_open(self, now: int, until: int, by: str, *, condition: str | None) -> None:
        opened = self._change(
            "SET #state = :open, opened_at = :now, open_until = :until, opened_by = :by, probe = :nobody",
            {"open": STATE_OPEN, "now": now, "until": until, "by": by, "nobody": ""},
            condition=condition,
        )
        if opened:
            count(Metric.BREAKER_OPENED)
            logger.warning("circuit breaker opened", by=by)

    def _write_closed(self, *, condition: str | None) -> None:
        values = {"closed": STATE_CLOSED, "now": self._now(), "zero": 0, "nobody": "", "me": self._me}
        if condition is None:
            del values["me"]
        closed = self._change(
            "SET #state = :closed, closed_at = :now, failures = :zero, successes = :zero, probe = :nobody",
            values,
            condition=condition,
        )
        if closed:
            count(Metric.BREAKER_CLOSED)
            logger.info("circuit breaker closed")

    def _change(self, update: str, values: Mapping[str, Any], *, condition: str | None = None) -> bool:
        """Whether it was written; if not, the record was read anew or the table could not be reached."""
        try:
            self._see(self._table.update(self._key, update, values, condition=condition))
        except ConditionFailedError as overtaken:
            self._see(overtaken.record)
            return False
        except RetryableError as error:
            logger.warning("breaker state not writable", reason=str(error))
            return False
        return True

    def _see(self, record: Mapping[str, Any]) -> None:
        self._seen = BreakerRecord.of(record)
        self._seen_at = self._monotonic()

    def _now(self) -> int:
        return round(self._clock.now().timestamp() * 1000)
