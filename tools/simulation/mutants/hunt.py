"""Hunt mutants: run seeds, or explore a scenario, until a guarantee is seen to break."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tools.simulation.explore import Budget, explore, run_scenario
from tools.simulation.mutants.catalog import MUTANTS
from tools.simulation.run import run_seed

if TYPE_CHECKING:
    from tools.simulation.mutants.mutant import Mutant


@dataclass(frozen=True, slots=True)
class Verdict:
    """The seed or scenario that caught a mutant, after `runs`, and the guarantee that it broke; or empty."""

    mutant: str
    runs: int
    found: str = ""
    guarantee: str = ""


def hunt(mutant: Mutant, *, max_seeds: int = 200) -> Verdict:
    """Run seeds until one catches the mutant, or explore its scenario."""
    with mutant.applied():
        if mutant.scenario:
            return _explore(mutant)
        for seed in range(1, max_seeds + 1):
            violation = run_seed(seed, mutant.settings, mix=mutant.mix).violation
            if violation is not None:
                return Verdict(mutant.name, seed, f"seed {seed}", violation.guarantee)
    return Verdict(mutant.name, max_seeds)


def _explore(mutant: Mutant) -> Verdict:
    if mutant.script is not None:
        violation = run_scenario(mutant.scenario, mutant.script).violation
        found = ("", "") if violation is None else (f"scenario {mutant.scenario}", violation.guarantee)
        return Verdict(mutant.name, 1, *found)
    exploration = explore(mutant.scenario, Budget(crashes=0, faults=0), stops_at_violation=True)
    for guarantee in exploration.violations:
        return Verdict(mutant.name, exploration.runs, f"scenario {mutant.scenario}", guarantee)
    return Verdict(mutant.name, exploration.runs)


def hunt_by_number(number: int, *, max_seeds: int) -> Verdict:
    """Hunt a mutant in a worker process, to which the mutant itself cannot be sent."""
    return hunt(MUTANTS[number], max_seeds=max_seeds)
