"""An operator who replays archived events, while jobs run and long after their end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tools.simulation.mutants.hunt import hunt
from tools.simulation.mutants.replays import REPLAY_MUTANTS
from tools.simulation.run import RunSettings, run_seed

if TYPE_CHECKING:
    from tools.simulation.mutants.mutant import Mutant

REPLAYED = RunSettings(
    jobs=15, key_requests=0, fallback_share=0.3, delete_share=0.5, erasure_share=1.0, replay_share=1.0
)


@pytest.mark.parametrize("seed", range(1, 4))
def test_every_guarantee_holds_while_events_are_replayed(seed: int) -> None:
    result = run_seed(seed, REPLAYED)

    assert result.violation is None
    # When nothing is left of deleted predictions, a day later.
    assert result.virtual_seconds > REPLAYED.fault_seconds + 30 * 3600


@pytest.mark.parametrize("mutant", REPLAY_MUTANTS, ids=lambda mutant: mutant.name)
def test_broken_handling_of_replayed_events_is_noticed(mutant: Mutant) -> None:
    assert hunt(mutant, max_seeds=3).guarantee == mutant.guarantee
