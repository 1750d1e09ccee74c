"""A circuit breaker for all calls in one account: while Replicate fails, only one probe at a time is sent.

The states and their transitions are those of pybreaker; `circuit_breaker_store` shares them between
functions.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pybreaker

from replicate_proxy.clock import format_optional_timestamp
from replicate_proxy.contracts.commands import MAX_MESSAGE_DELAY_SECONDS
from replicate_proxy.jobs.model import SHARED_ACCOUNT
from replicate_proxy.replicate_api.circuit_breaker_store import BREAKER_KEY, BreakerStore
from replicate_proxy.replicate_api.errors import (
    BreakerOpenError,
    NotAcceptedError,
    OutcomeUnknownError,
    RejectedError,
    ThrottledError,
    TokenRejectedError,
    TokenUnavailableError,
    UnexpectedResponseError,
    UpstreamUnavailableError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicate_proxy.aws.control_table import ControlTable
    from replicate_proxy.jobs.model import Account
    from replicate_proxy.ports import Clock


OUTAGES = (NotAcceptedError, OutcomeUnknownError, UpstreamUnavailableError)
"""No connection, no response, or 5xx."""

NOT_OUTAGES = (ThrottledError, TokenRejectedError, TokenUnavailableError, BreakerOpenError)
"""Subclasses of the above that are a response, or that come from the proxy itself."""

_RESPONSES = (ThrottledError, TokenRejectedError, RejectedError, UnexpectedResponseError)
"""Errors that show that Replicate is up. Others show nothing: the call may have failed before it was sent."""


@dataclass(frozen=True, slots=True)
class BreakerSettings:
    """When the breaker opens and how it recovers.

    It opens after `failure_threshold` outages in a row, for `open_seconds`. Then one call probes; after
    `probe_lease_seconds` without a result another call may probe. Functions read the state every
    `cache_seconds`.
    """

    failure_threshold: int = 8
    open_seconds: float = 30.0
    probe_lease_seconds: float = 60.0
    cache_seconds: float = 2.0


@dataclass(frozen=True, slots=True)
class BreakerStatus:
    """`state` is closed, open or half-open. `opened_by` is the class name of an error, or `admin`."""

    state: str
    failures: int
    opened_by: str | None
    opened_at: datetime | None
    open_until: datetime | None
    closed_at: datetime | None
    probe_until: datetime | None

    @property
    def is_open(self) -> bool:
        """Return whether calls wait: the breaker is open, or one call probes whether it may close."""
        return self.state != pybreaker.STATE_CLOSED


class CircuitBreaker:
    """Stops calls while Replicate is down, for all functions at once. A 4xx response is not an outage."""

    def __init__(
        self,
        table: ControlTable,
        clock: Clock,
        settings: BreakerSettings | None = None,
        *,
        account: Account = SHARED_ACCOUNT,
    ) -> None:
        self._settings = settings or BreakerSettings()
        self._clock = clock
        key = account.qualify(BREAKER_KEY)
        self._thread_local = _ThreadLocalStore(table, clock, self._settings, key)

    def raise_if_open(self) -> None:
        """Raise BreakerOpenError if a call would not be made now. Usually reads the cached record."""
        wait_seconds = self._calculate_wait_seconds()
        if wait_seconds > 0:
            raise BreakerOpenError("the circuit breaker is open", retry_after=wait_seconds)

    def call[T](self, function: Callable[[], T]) -> T:
        """Call `function` and count its outcome. Raise BreakerOpenError if it is not called."""
        self.raise_if_open()
        try:
            result: T = self._build_circuit().call(function)
        except pybreaker.CircuitBreakerError as error:
            raise BreakerOpenError(
                "the circuit breaker is open", retry_after=max(self._calculate_wait_seconds(), 1.0)
            ) from error
        return result

    def read_status(self) -> BreakerStatus:
        """Return the stored state, uncached."""
        record = self._store.read(fresh=True)
        return BreakerStatus(
            state=record.state,
            failures=record.failures,
            opened_by=record.opened_by or None,
            opened_at=_to_datetime(record.opened_at),
            open_until=_to_datetime(record.open_until),
            closed_at=_to_datetime(record.closed_at),
            probe_until=_to_datetime(record.probe_until),
        )

    def describe(self) -> dict[str, Any]:
        """Return the status as JSON for the admin API."""
        status = self.read_status()
        return {
            "state": status.state,
            "failures": status.failures,
            "opened_by": status.opened_by,
            "opened_at": format_optional_timestamp(status.opened_at),
            "open_until": format_optional_timestamp(status.open_until),
            "closed_at": format_optional_timestamp(status.closed_at),
            "probe_until": format_optional_timestamp(status.probe_until),
        }

    def trip(self, opened_by: str = "admin", *, seconds: float | None = None) -> None:
        """Open the breaker in any state, for `seconds` or the usual time. A probe follows as usual.

        If it is open for longer already, nothing changes: two operators, or an operator and an outage, do not
        shorten each other's time. `reset` ends it.
        """
        self._store.open(
            opened_by, seconds=self._settings.open_seconds if seconds is None else seconds, force=True
        )

    def reset(self) -> datetime | None:
        """Close the breaker in any state; return when the last of the jobs that wait for it resumes.

        Their messages are on their way with a delay that cannot be changed any more. It ended with the time
        of the breaker, or after the longest delay of a message. None if the breaker was not open.
        """
        before = self.read_status()
        self._store.close(force=True)
        if before.state == pybreaker.STATE_CLOSED or before.open_until is None:
            return None
        now = self._clock.now()
        latest = now + timedelta(seconds=MAX_MESSAGE_DELAY_SECONDS)
        return max(now, min(before.open_until, latest))

    @property
    def _store(self) -> BreakerStore:
        return self._thread_local.store

    def _calculate_wait_seconds(self) -> float:
        """Return the seconds until a call may be made, 0 if it may be made now."""
        record = self._store.read()
        if record.state == pybreaker.STATE_CLOSED or self._store.owns_probe(record):
            return 0.0
        until = record.open_until if record.state == pybreaker.STATE_OPEN else record.probe_until
        return max(0.0, until / 1000 - self._clock.now().timestamp())

    def _build_circuit(self) -> pybreaker.CircuitBreaker:
        """Return a circuit for one call.

        pybreaker's own circuit locks itself during a call, and one that lives longer resets the shared
        failure counter when it notices that another circuit has closed. A new circuit takes over the stored
        state without resetting anything.
        """
        storage = _CallStorage(self._store, self._settings.open_seconds)
        is_probe = storage.state != pybreaker.STATE_CLOSED
        return pybreaker.CircuitBreaker(
            fail_max=self._settings.failure_threshold,
            # pybreaker takes an excluded error for a success, and that of a probe closes the breaker.
            exclude=[lambda error: not _is_outage(error) and (not is_probe or isinstance(error, _RESPONSES))],
            listeners=[_CauseListener(storage)],
            state_storage=storage,
            # The call's own error must be raised: it says whether a create may have been accepted.
            throw_new_error_on_trip=False,
        )


class _ThreadLocalStore(threading.local):
    """A store per thread: its ID identifies the owner of a probe, and a probe belongs to one thread."""

    def __init__(self, table: ControlTable, clock: Clock, settings: BreakerSettings, key: str) -> None:
        self.store = BreakerStore(
            table,
            clock,
            key=key,
            cache_seconds=settings.cache_seconds,
            probe_lease_seconds=settings.probe_lease_seconds,
        )


class _CallStorage(pybreaker.CircuitBreakerStorage):
    """The shared record as pybreaker's storage, for one call.

    The state is that at the beginning of the call and changes only by the call's own transitions; the store
    decides whether they are still valid. One success closes the breaker, so successes are not shared.
    """

    def __init__(self, store: BreakerStore, open_seconds: float) -> None:
        super().__init__("replicate")
        self.cause = "failures"
        self._store = store
        self._open_seconds = open_seconds
        self._successes = 0
        record = store.read()
        is_probed_elsewhere = record.state == pybreaker.STATE_HALF_OPEN and not store.owns_probe(record)
        self._state = pybreaker.STATE_OPEN if is_probed_elsewhere else record.state

    @property
    def state(self) -> str:
        return self._state

    @state.setter
    def state(self, state: str) -> None:
        if state == pybreaker.STATE_OPEN:
            self._store.open(self.cause, seconds=self._open_seconds)
        elif state == pybreaker.STATE_CLOSED:
            self._store.close()
        elif not self._store.claim_probe():
            raise pybreaker.CircuitBreakerError("the probe is not due, or another call owns it")
        self._state = state

    @property
    def counter(self) -> int:
        return self._store.read().failures

    def increment_counter(self) -> None:
        self._store.count_failure()

    def reset_counter(self) -> None:
        self._store.reset_failures()

    @property
    def success_counter(self) -> int:
        return self._successes

    def increment_success_counter(self) -> None:
        self._successes += 1

    def reset_success_counter(self) -> None:
        self._successes = 0

    @property
    def opened_at(self) -> None:
        """None: the store, not pybreaker, decides when a probe is due."""

    @opened_at.setter
    def opened_at(self, moment: datetime) -> None:
        """Ignored: the store writes the time together with the state."""


class _CauseListener(pybreaker.CircuitBreakerListener):
    """Tells the storage which error opens the breaker."""

    def __init__(self, storage: _CallStorage) -> None:
        self._storage = storage

    def failure(self, _circuit: object, error: BaseException) -> None:
        self._storage.cause = type(error).__name__


def _is_outage(error: BaseException) -> bool:
    return isinstance(error, OUTAGES) and not isinstance(error, NOT_OUTAGES)


def _to_datetime(unix_ms: int) -> datetime | None:
    return datetime.fromtimestamp(unix_ms / 1000, UTC) if unix_ms else None
