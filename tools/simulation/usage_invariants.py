"""Whether usage is the sum of the jobs that have ended."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from replicate_proxy.usage.model import COUNTERS, EndedJob, UsageCounts
from tools.simulation.observation import read_items
from tools.simulation.resources import Table

if TYPE_CHECKING:
    from tools.simulation.invariants import Invariants
    from tools.simulation.world import World


class UsageInvariants:
    """Compares what was counted with the jobs, once everything is at rest."""

    def __init__(self, world: World, invariants: Invariants) -> None:
        self._world = world
        self._invariants = invariants
        invariants.at_rest.append(self._check)

    def _check(self) -> None:
        expected: defaultdict[tuple[str, str, str], UsageCounts] = defaultdict(UsageCounts)
        for job in self._world.truth.read_jobs():
            if job.is_terminal:
                entry = EndedJob.from_job(job).entry
                expected[entry.key.tenant, entry.key.day, entry.key.model] += entry.counts
        counted: defaultdict[tuple[str, str, str], UsageCounts] = defaultdict(UsageCounts)
        for record in read_items(self._world.aws, Table.USAGE):
            if "model" in record:
                counts = UsageCounts(**{name: record[name] for name in COUNTERS})
                counted[record["tenant"], record["day"], record["model"]] += counts
        for key in expected.keys() | counted.keys():
            if expected[key] != counted[key]:
                detail = f"{key}: {counted[key]} was counted, {expected[key]} ended"
                self._invariants.report("usage is the sum of the jobs", detail)
