"""Invalid inputs in a run: a request that is refused leaves nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tools.simulation.invariants import Invariants
    from tools.simulation.world import World


class InputInvariants:
    """Checks at rest that no caller whose input was refused has a job; reservations are checked for all."""

    def __init__(self, world: World, invariants: Invariants) -> None:
        self._world = world
        self._invariants = invariants
        invariants.at_rest.append(self._check)

    def _check(self) -> None:
        for job in self._world.truth.read_jobs():
            if job.correlation_id in self._invariants.refused_callers:
                self._invariants.report("a refused input costs nothing", f"{job.tenant} {job.id}")
