"""Operators who pause predictions or deliveries, of a tenant or of all, and what must hold meanwhile.

Half of the pauses of predictions refuse what is created meanwhile.
"""

from __future__ import annotations

import math
import random
from functools import partial
from typing import TYPE_CHECKING, Any

from replicate_proxy.aws.control_table import ControlTable
from replicate_proxy.aws.pause_store import DynamoPauseStore
from replicate_proxy.clock import format_timestamp
from replicate_proxy.errors import ProxyError
from replicate_proxy.pauses.pause import ALL_TENANTS, Pause, PausedActivity, PauseMode, PauseSwitch
from tools.simulation.observation import observe_writes
from tools.simulation.resources import Table
from tools.simulation.scheduler import ProcessEndedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tools.simulation.invariants import Invariants, Item
    from tools.simulation.replicate import Prediction
    from tools.simulation.scheduler import Actor, Scheduler
    from tools.simulation.world import World

_MEAN_SECONDS_BETWEEN = 300.0
# A held job is checked each ten minutes: those of the longest pauses are checked in line.
_DURATIONS_SECONDS = (10.0, 90.0, 700.0, 1500.0)
# A function that has read the pauses before, or from its cache, and a request that takes effect late.
_SETTLED_SECONDS = 200.0
_REFUSING_SHARE = 0.5
_GUARANTEE = "what is paused is not sent"
_REFUSED = "a refused create leaves nothing"


def find_no_pause(_tenant: str) -> None:
    """Return None: the runs without operators who pause do not read pauses."""


def refuse_nothing(_tenant: str) -> None:
    """Refuse no create: the same for the runs without operators who pause."""


def build_pause_switch(table: ControlTable, activity: PausedActivity, scheduler: Scheduler) -> PauseSwitch:
    return PauseSwitch(DynamoPauseStore(table, activity), monotonic=lambda: scheduler.now)


class PauseOperators:
    """Pause and resume until `seconds` have passed, one for each activity.

    Random numbers are their own, so that runs without pauses stay as they are.
    """

    def __init__(
        self, world: World, invariants: Invariants, *, tenants: tuple[str, ...], seconds: float
    ) -> None:
        self._world = world
        self._invariants = invariants
        self._tenants = tenants
        self._end = world.scheduler.now + seconds
        self._paused_at: dict[tuple[PausedActivity, str], float] = {}
        self._refused_at: dict[str, float] = {}
        self._check_earlier = world.replicate.on_create
        world.replicate.on_create = self._check_create
        self._note_earlier = world.applications.on_post
        world.applications.on_post = self._check_post
        observe_writes(world.aws, self._check_write)
        invariants.at_rest.append(self._check_refused)

    def start(self) -> None:
        for activity in PausedActivity:
            self._world.scheduler.spawn(f"pauses-{activity}", partial(self._run, activity))

    def _run(self, activity: PausedActivity) -> None:
        source = random.Random(f"{self._world.scheduler.seed}/pauses/{activity}")
        modes = random.Random(f"{self._world.scheduler.seed}/pauses/modes")
        client = self._world.aws.client("dynamodb")
        store = DynamoPauseStore(ControlTable(client, Table.CONTROL), activity)
        while self._world.scheduler.now < self._end:
            self._world.scheduler.sleep(source.expovariate(1 / _MEAN_SECONDS_BETWEEN))
            tenant = source.choice((*self._tenants, ALL_TENANTS))
            since = format_timestamp(self._world.clock.now())
            is_refusing = activity is PausedActivity.PREDICTIONS and modes.random() < _REFUSING_SHARE
            mode = PauseMode.REFUSE if is_refusing else PauseMode.HOLD
            self._ask(partial(store.put, tenant, Pause(mode, since)))
            self._paused_at[activity, tenant] = self._world.scheduler.now
            if is_refusing:
                self._refused_at[tenant] = self._world.scheduler.now
            self._world.scheduler.sleep(source.choice(_DURATIONS_SECONDS))
            del self._paused_at[activity, tenant]
            self._refused_at.pop(tenant, None)
            self._ask(partial(store.remove, tenant))

    def _ask(self, change: Callable[[], Any]) -> None:
        """Repeat the change until it is confirmed."""
        while True:
            try:
                self._world.call_function("admin", change)
            except (ProxyError, ProcessEndedError):
                self._world.scheduler.sleep(1.0)
            else:
                return

    def _is_paused(self, activity: PausedActivity, *tenants: str) -> bool:
        since = [self._paused_at[activity, name] for name in tenants if (activity, name) in self._paused_at]
        return any(self._world.scheduler.now > each + _SETTLED_SECONDS for each in since)

    def _check_write(self, table: str, old: Item | None, new: Item | None) -> None:
        """While creates are refused, no job is accepted, of the tenant or of all."""
        if table != Table.JOBS or old is not None or new is None or new["sk"]["S"] != "JOB":
            return
        since = [self._refused_at.get(name, math.inf) for name in (new["tenant"]["S"], ALL_TENANTS)]
        if self._world.scheduler.now > min(since) + _SETTLED_SECONDS:
            self._invariants.report(_REFUSED, f"{new['id']['S']} was accepted during a pause")

    def _check_refused(self) -> None:
        """Whose requests were all refused has no job, nor what it would cost."""
        for job in self._world.truth.read_jobs():
            if job.correlation_id in self._invariants.paused_callers:
                self._invariants.report(_REFUSED, f"{job.id} of {job.correlation_id}")

    def _check_create(self, prediction: Prediction) -> None:
        self._check_earlier(prediction)
        if self._is_paused(PausedActivity.PREDICTIONS, prediction.job[0], ALL_TENANTS):
            self._invariants.report(_GUARANTEE, f"the create of {prediction.job}")

    def _check_post(self, message_id: str, sender: Actor) -> None:
        self._note_earlier(message_id, sender)
        if self._is_paused(PausedActivity.DELIVERIES, ALL_TENANTS):
            self._invariants.report(_GUARANTEE, f"the webhook {message_id}")
