"""An operator who replays the archive of the bus, while jobs run and long after they ended.

The first replays are of periods of the last hours, while faults occur. The next ones are of everything: when
all jobs have ended, and when nothing is left of those that were deleted or erased.
"""

from __future__ import annotations

import random
from functools import partial
from typing import TYPE_CHECKING

from tools.simulation.observation import observe_writes
from tools.simulation.resources import BUCKET

if TYPE_CHECKING:
    from tools.simulation.invariants import Invariants
    from tools.simulation.world import World

_EARLY_REPLAYS = 2
_PERIODS_SECONDS = (300.0, 1200.0, 3600.0)
# Every job has ended by then, and nothing is left of deleted ones a day later.
_JOBS_ENDED_SECONDS = 3 * 3600.0 + 600.0
_DELETED_SECONDS = 30 * 3600.0
# EventBridge replays an hour of events in minutes, and not in their order.
_SPREAD_SECONDS = 60.0
_CONSUMERS = frozenset({"track", "harvest"})
_GUARANTEE = "a replay changes nothing that has ended"


class ReplayOperator:
    """Replays what is archived in one world, and watches what comes of it after the end of all jobs."""

    def __init__(self, world: World, invariants: Invariants, *, seconds: float) -> None:
        self._world = world
        self._invariants = invariants
        self._seconds = seconds
        self._source = random.Random(f"{world.scheduler.seed}/replays")
        self._is_done = False
        world.aws.events.archive = []
        world.work_left.append(self._is_anything_left)
        observe_writes(world.aws, lambda table, _old, _new: self._check_write(table))
        world.aws.s3.observe(BUCKET, lambda name, _old, _new: self._check_write(name))

    def start(self) -> None:
        """Schedule the operator."""
        self._world.scheduler.spawn("replays", self._run)

    def _run(self) -> None:
        events, quiet_from = self._world.aws.events, self._world.plan.quiet_from
        draw_delay = partial(self._source.uniform, 0.0, _SPREAD_SECONDS)
        for _ in range(_EARLY_REPLAYS):
            self._world.scheduler.sleep(self._source.uniform(0, self._seconds / _EARLY_REPLAYS))
            since = self._world.scheduler.now - self._source.choice(_PERIODS_SECONDS)
            events.replay(since=since, draw_delay=draw_delay)
        for seconds in (_JOBS_ENDED_SECONDS, _DELETED_SECONDS):
            self._world.scheduler.sleep(quiet_from + seconds - self._world.scheduler.now)
            events.replay(since=0.0, draw_delay=draw_delay)
        self._is_done = True

    def _is_anything_left(self) -> bool:
        return not self._is_done or self._world.aws.events.next_due() is not None

    def _check_write(self, place: str) -> None:
        actor = self._world.scheduler.current
        has_ended = self._world.scheduler.now >= self._world.plan.quiet_from + _JOBS_ENDED_SECONDS
        if has_ended and actor is not None and actor.process.name.partition("-")[0] in _CONSUMERS:
            self._invariants.report(_GUARANTEE, f"{actor.process.name} writes to {place}")
