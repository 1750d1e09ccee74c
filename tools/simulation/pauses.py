"""Operators who pause predictions or deliveries, of a tenant or of all, and what must hold meanwhile."""

from __future__ import annotations

import random
from functools import partial
from typing import TYPE_CHECKING, Any

from replicate_proxy.aws.control_table import ControlTable
from replicate_proxy.aws.pause_store import DynamoPauseStore
from replicate_proxy.clock import format_timestamp
from replicate_proxy.errors import ProxyError
from replicate_proxy.pauses.pause import ALL_TENANTS, Pause, PausedActivity, PauseMode, PauseSwitch
from tools.simulation.resources import Table
from tools.simulation.scheduler import ProcessEndedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tools.simulation.invariants import Invariants
    from tools.simulation.replicate import Prediction
    from tools.simulation.scheduler import Actor, Scheduler
    from tools.simulation.world import World

_MEAN_SECONDS_BETWEEN = 300.0
# A held job is checked each ten minutes: those of the longest pauses are checked in line.
_DURATIONS_SECONDS = (10.0, 90.0, 700.0, 1500.0)
# A function that has read the pauses before, or from its cache, and a request that takes effect late.
_SETTLED_SECONDS = 200.0
_GUARANTEE = "what is paused is not sent"


def find_no_pause(_tenant: str) -> None:
    """Return None: the runs without operators who pause do not read pauses."""


def build_pause_finder(
    table: ControlTable, activity: PausedActivity, scheduler: Scheduler
) -> Callable[[str], Pause | None]:
    return PauseSwitch(DynamoPauseStore(table, activity), monotonic=lambda: scheduler.now).find


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
        self._check_earlier = world.replicate.on_create
        world.replicate.on_create = self._check_create
        self._note_earlier = world.applications.on_post
        world.applications.on_post = self._check_post

    def start(self) -> None:
        for activity in PausedActivity:
            self._world.scheduler.spawn(f"pauses-{activity}", partial(self._run, activity))

    def _run(self, activity: PausedActivity) -> None:
        source = random.Random(f"{self._world.scheduler.seed}/pauses/{activity}")
        client = self._world.aws.client("dynamodb")
        store = DynamoPauseStore(ControlTable(client, Table.CONTROL), activity)
        while self._world.scheduler.now < self._end:
            self._world.scheduler.sleep(source.expovariate(1 / _MEAN_SECONDS_BETWEEN))
            tenant = source.choice((*self._tenants, ALL_TENANTS))
            since = format_timestamp(self._world.clock.now())
            self._ask(partial(store.put, tenant, Pause(PauseMode.HOLD, since)))
            self._paused_at[activity, tenant] = self._world.scheduler.now
            self._world.scheduler.sleep(source.choice(_DURATIONS_SECONDS))
            del self._paused_at[activity, tenant]
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

    def _check_create(self, prediction: Prediction) -> None:
        self._check_earlier(prediction)
        if self._is_paused(PausedActivity.PREDICTIONS, prediction.job[0], ALL_TENANTS):
            self._invariants.report(_GUARANTEE, f"the create of {prediction.job}")

    def _check_post(self, message_id: str, sender: Actor) -> None:
        self._note_earlier(message_id, sender)
        if self._is_paused(PausedActivity.DELIVERIES, ALL_TENANTS):
            self._invariants.report(_GUARANTEE, f"the webhook {message_id}")
