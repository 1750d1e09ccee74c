"""Searches in the simulation: pages show each prediction once, and broken code is caught."""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import TYPE_CHECKING

import pytest

from tools.simulation.mutants.hunt import hunt
from tools.simulation.mutants.reads import SEARCH_MUTANTS
from tools.simulation.run import RunResult, RunSettings, run_seed

if TYPE_CHECKING:
    from tools.simulation.mutants.mutant import Mutant

SEARCHED = RunSettings(jobs=20, key_requests=0, delete_share=0.3, searches=12)
SEEDS = range(1, 7)
QUICK_MUTANTS = [mutant for mutant in SEARCH_MUTANTS if not mutant.is_slow]


@cache
def run(seed: int) -> RunResult:
    return run_seed(seed, SEARCHED)


@pytest.mark.parametrize("seed", SEEDS)
def test_each_prediction_is_found_once(seed: int) -> None:
    result = run(seed)

    assert result.violation is None, result.violation


def test_searches_have_several_pages_in_both_directions() -> None:
    reads = sum((Counter(run(seed).reads) for seed in SEEDS), Counter[str]())

    assert reads["complete searches"] > 10 * len(SEEDS)
    assert reads["next pages of searches"] > 2 * reads["complete searches"]
    assert reads["previous pages of searches"] > 10


@pytest.mark.parametrize("mutant", QUICK_MUTANTS, ids=lambda mutant: mutant.name)
def test_broken_search_is_caught(mutant: Mutant) -> None:
    assert hunt(mutant, max_seeds=30).found
