"""What must hold for the circuit breaker: one probe at a time, and outages count once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicate_proxy.replicate_api.circuit_breaker_store import BreakerRecord
from tools.simulation.observation import observe_writes
from tools.simulation.resources import Table

if TYPE_CHECKING:
    from tools.simulation.invariants import Invariants, Item
    from tools.simulation.scheduler import Actor
    from tools.simulation.world import World

_BREAKER = "BREAKER#replicate"


@dataclass(frozen=True, slots=True)
class _Probe:
    owner: str
    actor: Actor
    until: float


class BreakerInvariants:
    """Watches the record of the breaker in one world; reports to `invariants`."""

    def __init__(self, world: World, invariants: Invariants) -> None:
        self._world = world
        self._invariants = invariants
        self._probe: _Probe | None = None
        observe_writes(world.aws, self._check_write)

    def _check_write(self, table: str, old: Item | None, new: Item | None) -> None:
        actor = self._world.scheduler.current
        if table != Table.CONTROL or new is None or actor is None or new["pk"]["S"] != _BREAKER:
            return
        before, after = _parse(old or {}), _parse(new)
        is_claim = after.state == "half-open" and (before.state, before.probe_owner, before.probe_until) != (
            after.state,
            after.probe_owner,
            after.probe_until,
        )
        if is_claim:
            self._check_claim(after, actor)
        elif after.state == "closed" or self._may_end_probe(actor):
            self._probe = None
        elif after.state == "open" and self._probe is not None and self._is_running(self._probe):
            name = self._probe.actor.name
            self._invariants.report("a probe decides alone", f"{actor.name} opened during that of {name}")

    def _may_end_probe(self, actor: Actor) -> bool:
        """Return whether the actor may open the breaker during a probe: an operator or the probe itself."""
        is_probe = self._probe is not None and actor is self._probe.actor
        return is_probe or actor.process.name.startswith("admin")

    def _check_claim(self, record: BreakerRecord, actor: Actor) -> None:
        other = self._probe
        if other is not None and other.actor is not actor and self._is_running(other):
            self._invariants.report("one probe at a time", f"{actor.name} beside {other.actor.name}")
        self._probe = _Probe(record.probe_owner, actor, record.probe_until / 1000)

    def _is_running(self, probe: _Probe) -> bool:
        is_alive = not probe.actor.has_ended and not probe.actor.process.is_crashed
        return is_alive and self._world.scheduler.now < probe.until


def _parse(item: Item) -> BreakerRecord:
    values = {name: value.get("S", value.get("N")) for name, value in item.items()}
    return BreakerRecord(
        state=values.get("state", "closed"),
        probe_owner=values.get("probe_owner", ""),
        probe_until=int(values.get("probe_until", 0)),
    )
