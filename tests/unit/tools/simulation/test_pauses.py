"""Operators who pause predictions and deliveries while jobs run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tools.simulation.mutants.hunt import hunt
from tools.simulation.mutants.pauses import PAUSE_MUTANTS
from tools.simulation.run import RunSettings, run_seed

if TYPE_CHECKING:
    from tools.simulation.mutants.mutant import Mutant

PAUSED = RunSettings(jobs=12, key_requests=0, limited_share=1.0, pause_share=1.0)
QUICK_MUTANTS = [mutant for mutant in PAUSE_MUTANTS if not mutant.is_slow]


@pytest.mark.parametrize("seed", range(1, 3))
def test_every_guarantee_holds_while_operators_pause_and_resume(seed: int) -> None:
    result = run_seed(seed, PAUSED)

    assert result.violation is None
    assert result.accepted > 0


@pytest.mark.parametrize("mutant", QUICK_MUTANTS, ids=lambda mutant: mutant.name)
def test_pause_that_is_not_found_is_noticed(mutant: Mutant) -> None:
    assert hunt(mutant, max_seeds=5).guarantee == mutant.guarantee
