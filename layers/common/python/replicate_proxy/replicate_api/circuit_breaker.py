"""One circuit breaker before all calls to Replicate: while Replicate fails, nobody asks but one probe at a
time.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pybreaker

from replicate_proxy.clock import format_timestamp
from replicate_proxy.replicate_api.circuit_breaker_storage import DynamoBreakerStorage, ProbeTakenError
from replicate_proxy.replicate_api.errors import (
    BreakerOpenError,
    NotAcceptedError,
    OutcomeUnknownError,
    ThrottledError,
    TokenRejectedError,
    UpstreamUnavailableError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicate_proxy.aws.control_table import ControlTable
    from replicate_proxy.ports import Clock


_UNHEALTHY = (NotAcceptedError, OutcomeUnknownError, UpstreamUnavailableError)
_ANSWERED = (ThrottledError, TokenRejectedError, BreakerOpenError)


@dataclass(frozen=True, slots=True)
class BreakerSettings:
    """Opens after `failures` in a row, for `reset_seconds`; a probe that says nothing for `probe_seconds` is
    dead.
    """

    failure_threshold: int = 8
    open_seconds: float = 30.0
    probe_lease_seconds: float = 60.0
    cache_seconds: float = 2.0


@dataclass(frozen=True, slots=True)
class BreakerStatus:
    """`state` is closed, open or half-open, `opened_by` an error's class or `admin`; times None if never."""

    state: str
    failures: int
    opened_by: str | None
    opened_at: datetime | None
    open_until: datetime | None
    closed_at: datetime | None
    probe_until: datetime | None


class CircuitBreaker:
    """Counts only what speaks for an ill Replicate: no connection, no answer, 5xx. A 4xx is an answer."""

    def __init__(self, table: ControlTable, clock: Clock, settings: BreakerSettings | None = None) -> None:
        self._settings = settings or BreakerSettings()
        self._clock = clock
        self._mine = _OfThisThread(table, clock, self._settings)

    def raise_if_open(self) -> None:
        """Raises BreakerOpenError where a call now would not be made. Cheap: a look at the last reading."""
        wait = self._wait()
        if wait > 0:
            raise BreakerOpenError("the circuit breaker is open", retry_after=wait)

    def call[T](self, function: Callable[[], T]) -> T:
        """What `function` gives or raises; BreakerOpenError where it was not called."""
        self.raise_if_open()
        try:
            result: T = self._mine.circuit.call(function)
        except (pybreaker.CircuitBreakerError, ProbeTakenError) as error:
            raise BreakerOpenError(
                "the circuit breaker is open", retry_after=max(self._wait(), 1.0)
            ) from error
        return result

    def read_status(self) -> BreakerStatus:
        """The state as stored now."""
        record = self._mine.storage.record(fresh=True)
        return BreakerStatus(
            state=record.state,
            failures=record.failures,
            opened_by=record.opened_by or None,
            opened_at=_moment(record.opened_at),
            open_until=_moment(record.open_until),
            closed_at=_moment(record.closed_at),
            probe_until=_moment(record.probe_until),
        )

    def describe(self) -> dict[str, Any]:
        """The status as JSON for the admin API."""
        status = self.read_status()
        times = ("opened_at", "open_until", "closed_at", "probe_until")
        shown = {name: getattr(status, name) for name in times}
        return {
            "state": status.state,
            "failures": status.failures,
            "opened_by": status.opened_by,
            **{name: format_timestamp(moment) if moment else None for name, moment in shown.items()},
        }

    def trip(self, opened_by: str = "admin", *, seconds: float | None = None) -> None:
        """Opens it by hand, for `seconds` or the usual time; then one probe decides."""
        self._mine.storage.trip(opened_by, self._settings.open_seconds if seconds is None else seconds)

    def reset(self) -> None:
        """Closes it by hand."""
        self._mine.storage.reset()

    def _wait(self) -> float:
        """Seconds until a call may be made, 0 where it may be now."""
        record = self._mine.storage.record()
        if record.state == pybreaker.STATE_CLOSED or self._mine.storage.probing(record):
            return 0.0
        until = record.open_until if record.state == pybreaker.STATE_OPEN else record.probe_until
        return max(0.0, until / 1000 - self._clock.now().timestamp())


class _OfThisThread(threading.local):
    """pybreaker is locked while a call lasts, and a probe belongs to one call: so each thread has its own."""

    def __init__(self, table: ControlTable, clock: Clock, settings: BreakerSettings) -> None:
        self._settings = settings
        self.storage = DynamoBreakerStorage(
            table,
            clock,
            reset_timeout=settings.open_seconds,
            probe_lease=settings.probe_lease_seconds,
            freshness=settings.cache_seconds,
        )

    @cached_property
    def circuit(self) -> Any:
        return _OneOfMany(
            fail_max=self._settings.failure_threshold,
            reset_timeout=self._settings.open_seconds,
            exclude=[lambda error: not _speaks_for_illness(error)],
            listeners=[_Reason(self.storage)],
            state_storage=self.storage,
            # The call's own error must come out: whether a create was accepted is not the breaker's to say.
            throw_new_error_on_trip=False,
        )


class _OneOfMany(pybreaker.CircuitBreaker):
    """One of many circuits over the same record."""

    def _create_new_state(self, new_state: str, prev_state: Any = None, notify: bool = False) -> Any:  # noqa: ARG002 - the base class's signature
        """Without notice: pybreaker (1.4, `CircuitClosedState`) resets the counter with it, also where a
        circuit only takes over, late, what another has closed, and would forget failures since.

        The record's own transitions reset what is to be reset.
        """
        return super()._create_new_state(new_state, prev_state=prev_state)


class _Reason(pybreaker.CircuitBreakerListener):
    """Remembers which error opened the breaker."""

    def __init__(self, storage: DynamoBreakerStorage) -> None:
        self._storage = storage

    def failure(self, _cb: object, exc: BaseException) -> None:
        self._storage.reason = type(exc).__name__


def _speaks_for_illness(error: BaseException) -> bool:
    return isinstance(error, _UNHEALTHY) and not isinstance(error, _ANSWERED)


def _moment(milliseconds: int) -> datetime | None:
    return datetime.fromtimestamp(milliseconds / 1000, UTC) if milliseconds else None
