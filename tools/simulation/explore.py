"""Explore all interleavings of a scenario, up to a number of preemptions, of crashes and of other faults.

Each run starts anew with a script and goes on without further choices; every choice point after the script's
last is where other runs branch off. Runs with fewer choices come first, so a violation is found with as few
as possible, and a limit of time leaves the rarest combinations out (Musuvathi and Qadeer, "Iterative Context
Bounding for Systematic Testing of Multithreaded Programs", 2007). A run ends where the world is one that was
seen before with at least as many choices left: whatever follows from there is, or will be, explored.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from dataclasses import astuple, dataclass, field
from typing import TYPE_CHECKING

from tools.simulation.batch_invariants import BatchInvariants
from tools.simulation.breaker_invariants import BreakerInvariants
from tools.simulation.choice_plan import ChoicePlan, is_crash, is_preemption
from tools.simulation.concurrency_invariants import ConcurrencyInvariants
from tools.simulation.cost_invariants import CostInvariants
from tools.simulation.deletions import DeletionInvariants
from tools.simulation.delivery_invariants import DeliveryInvariants
from tools.simulation.fingerprint import Fingerprints
from tools.simulation.invariants import Invariants
from tools.simulation.run import START, logs_in_trace
from tools.simulation.runtime import deterministic_process, garbage_collected_at_end
from tools.simulation.scenario import Cast
from tools.simulation.scenarios import SCENARIOS
from tools.simulation.scheduler import Scheduler
from tools.simulation.stream_invariants import StreamInvariants
from tools.simulation.trace import Trace
from tools.simulation.world import World

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from tools.simulation.invariants import Violation
    from tools.simulation.scheduler import Actor

_SEED = 1
# What is called back again and again until a run ends.
_BACKGROUND = ("World.", "ConcurrencyInvariants.")
_STEP_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Budget:
    """How many choices of each kind a run may make, and how many in all.

    Faults are lost responses, lost webhooks and the like; crashes are counted for themselves.
    """

    preemptions: int = 2
    crashes: int = 2
    faults: int = 2
    choices: int = 2

    def covers(self, other: Budget) -> bool:
        return all(mine >= its for mine, its in zip(astuple(self), astuple(other), strict=True))

    def allows(self, option: str) -> bool:
        return self.choices > 0 and self._count(option) > 0

    def spend(self, options: Sequence[str]) -> Budget:
        """Return what is left after these choices."""
        preemptions = sum(map(is_preemption, options))
        crashes = sum(map(is_crash, options))
        return Budget(
            self.preemptions - preemptions,
            self.crashes - crashes,
            self.faults - (len(options) - preemptions - crashes),
            self.choices - len(options),
        )

    def _count(self, option: str) -> int:
        if is_preemption(option):
            return self.preemptions
        return self.crashes if is_crash(option) else self.faults


@dataclass(slots=True)
class ScenarioRun:
    """One run of a scenario."""

    trace: Trace
    violation: Violation | None


@dataclass(slots=True)
class Exploration:
    """What exploring a scenario has shown. `completed_depth`: all runs with so many choices are done."""

    scenario: str
    budget: Budget
    runs: int = 0
    states: int = 0
    seconds: float = 0.0
    completed_depth: int = -1
    is_finished: bool = False
    violations: dict[str, Found] = field(default_factory=dict)
    violating_runs: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Found:
    """A violation, and the shortest script that leads to it."""

    violation: Violation
    script: Mapping[str, str]


@garbage_collected_at_end()
def run_scenario(
    name: str,
    script: Mapping[str, str],
    *,
    keeps_steps: bool = False,
    should_prune: Callable[[Fingerprints, str, Sequence[str]], bool] | None = None,
) -> ScenarioRun:
    """Run a scenario with a script.

    `should_prune(fingerprints, key, options)` is asked at each choice point after the last one of the script.
    """
    scenario = SCENARIOS[name]
    scheduler = Scheduler(_SEED, start=START)
    trace = Trace(keeps_steps=keeps_steps)
    metrics = Counter[str]()
    process = deterministic_process(scheduler, metrics, slice_lines=scenario.slice_lines)
    with process, logs_in_trace(scheduler, trace):
        plan = ChoicePlan(scheduler, trace, scenario, script)
        # Only batches need what the usage function counts.
        features = scenario.features
        world = World(scheduler, plan, trace, counts_usage=features.has_batches, features=features)
        invariants = Invariants(world)
        cast = _watch(world, invariants)
        fingerprints = Fingerprints(world, plan, invariants)

        def on_choice(actor: Actor, key: str, _step: str, options: Sequence[str]) -> None:
            if invariants.is_violated:
                plan.stop(actor)
            if (
                should_prune is not None
                and plan.has_followed_script
                and should_prune(fingerprints, key, options)
            ):
                plan.stop(actor)

        plan.on_choice = on_choice
        scenario.start(cast)
        try:
            _run_until_rest(world, plan, invariants, scenario.rest_seconds)
            invariants.check_metrics(metrics)
        finally:
            scheduler.discard()
    return ScenarioRun(trace, invariants.violation)


def _watch(world: World, invariants: Invariants) -> Cast:
    """Add the watchers that the features of the world need, and return those who act in it."""
    DeliveryInvariants(world, invariants)
    BreakerInvariants(world, invariants)
    CostInvariants(world, invariants)
    StreamInvariants(world, invariants)
    features = world.features
    batches = BatchInvariants(world, invariants, budgeted_tenant=None) if features.has_batches else None
    limits = ConcurrencyInvariants(world, invariants) if features.has_limits else None
    deletions = DeletionInvariants(world, invariants) if features.has_deletions else None
    return Cast(world, invariants, batches=batches, limits=limits, deletions=deletions)


def _run_until_rest(world: World, plan: ChoicePlan, invariants: Invariants, max_seconds: float) -> None:
    """Run until nothing is left to do, then check what must hold at rest."""

    def should_stop() -> bool:
        return plan.is_stopped or invariants.is_violated

    end = START + max_seconds
    scheduler = world.scheduler
    while scheduler.now < end:
        scheduler.run(scheduler.now + _STEP_SECONDS)
        if should_stop():
            return
        has_actors = any(not name.startswith(_BACKGROUND) for _, name in scheduler.describe_pending())
        if not has_actors and world.is_at_rest():
            break
    invariants.check_jobs_ended()
    invariants.check_at_rest()


def explore(
    name: str, budget: Budget, *, max_seconds: float | None = None, stops_at_violation: bool = False
) -> Exploration:
    """Explore a scenario until every run within the budget is done, or the time is over."""
    started = time.perf_counter()
    exploration = Exploration(name, budget)
    seen: dict[bytes, list[Budget]] = {}
    scripts: deque[dict[str, str]] = deque([{}])
    while scripts:
        exploration.completed_depth = len(scripts[0]) - 1
        if max_seconds is not None and time.perf_counter() - started > max_seconds:
            break
        script = scripts.popleft()
        _run_and_branch(exploration, script, seen, scripts)
        if stops_at_violation and exploration.violations:
            break
    else:
        exploration.completed_depth = budget.choices
        exploration.is_finished = True
    exploration.states = len(seen)
    exploration.seconds = time.perf_counter() - started
    return exploration


def _run_and_branch(
    exploration: Exploration,
    script: dict[str, str],
    seen: dict[bytes, list[Budget]],
    scripts: deque[dict[str, str]],
) -> None:
    left = exploration.budget.spend(list(script.values()))

    def should_prune(fingerprints: Fingerprints, key: str, options: Sequence[str]) -> bool:
        earlier = seen.setdefault(fingerprints.calculate(), [])
        if any(budget.covers(left) for budget in earlier):
            return True
        earlier.append(left)
        scripts.extend({**script, key: option} for option in options if left.allows(option))
        return False

    run = run_scenario(exploration.scenario, script, should_prune=should_prune)
    exploration.runs += 1
    if run.violation is not None:
        guarantee = run.violation.guarantee
        exploration.violating_runs[guarantee] += 1
        exploration.violations.setdefault(guarantee, Found(run.violation, script))
