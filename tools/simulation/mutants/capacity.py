"""Broken variants of what bounds the calls to Replicate: the circuit breaker and concurrency limits."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any
from unittest import mock

from replicate_proxy.aws.slot_store import DynamoSlotStore
from replicate_proxy.concurrency import releases
from replicate_proxy.concurrency.gate import SlotGate
from replicate_proxy.concurrency.repair import SlotRepair
from replicate_proxy.replicate_api.circuit_breaker_store import BreakerStore
from tools.simulation.mutants.mutant import Mutant
from tools.simulation.run import RunSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicate_proxy.concurrency.model import Limit

_WITH_LIMITS = RunSettings(jobs=25, fallback_share=0.3, limited_share=1.0)


def _acquire_whatever_is_taken(self: Any, limit: Limit, holder: str, revision: int) -> Any:
    return _try_acquire(self, replace(limit, max_concurrency=limit.max_concurrency + 1), holder, revision)


def _hold_and_leave(self: Any, *arguments: Any) -> None:
    line, self._line = self._line, mock.Mock()
    try:
        _hold(self, *arguments)
    finally:
        self._line = line


def _release_any_revision(self: Any, limit_name: str, holder: str, *, up_to_revision: int) -> Any:
    return _release_slot(self, limit_name, holder, up_to_revision=up_to_revision + 1_000_000)


def _claim_probe_of_others(self: Any) -> bool:
    if self.read().state == "closed" or self.read().open_until > self._now_ms():
        return False
    values = {"half_open": "half-open", "owner": self._owner_id, "until": self._now_ms() + 60_000}
    return bool(self._update("SET #state = :half_open, probe_owner = :owner, probe_until = :until", values))


def _open_unless_open(self: Any, opened_by: str, *, seconds: float, force: bool = False) -> None:
    if self.read(fresh=True).state != "open":
        _open_breaker(self, opened_by, seconds=seconds, force=force or self._record.state == "half-open")


_open_breaker: Callable[..., Any] = BreakerStore.open
_try_acquire: Callable[..., Any] = DynamoSlotStore._try_acquire  # noqa: SLF001 - what is broken
_release_slot: Callable[..., Any] = DynamoSlotStore.release
_hold: Callable[..., Any] = SlotGate._hold  # noqa: SLF001 - what is broken

CAPACITY_MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "any call may end the probe of the breaker",
        "a probe decides alone",
        ((BreakerStore, "open", _open_unless_open),),
        scenario="breaker",
    ),
    Mutant(
        "a probe does not exclude another",
        "one probe at a time",
        ((BreakerStore, "claim_probe", _claim_probe_of_others),),
        scenario="breaker",
    ),
    Mutant(
        "one more slot than there are is acquired",
        "limits are not exceeded",
        ((DynamoSlotStore, "_try_acquire", _acquire_whatever_is_taken),),
        settings=_WITH_LIMITS,
    ),
    Mutant(
        "a late release frees the slot of a new attempt",
        "limits are not exceeded",
        ((DynamoSlotStore, "release", _release_any_revision),),
        settings=_WITH_LIMITS,
    ),
    Mutant(
        "slots are not freed, and the sweep does not notice",
        "no job waits for a free slot",
        (
            (releases, "_find_released", lambda *_arguments: ()),
            (SlotRepair, "_free_stale_slots", lambda *_arguments: None),
        ),
        settings=_WITH_LIMITS,
    ),
    Mutant(
        "no function lets a line advance that is joined after the last slot was freed",
        "no job waits for a free slot",
        (
            (SlotGate, "_hold", _hold_and_leave),
            (SlotRepair, "run", lambda *_arguments: 0),
        ),
        scenario="line",
    ),
)
