"""What operators and owners do to single jobs and webhooks, and limits and parameters that they change."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tools.simulation.limit_history import LimitHistory
from tools.simulation.mutants.hunt import hunt
from tools.simulation.mutants.operators import OPERATOR_MUTANTS
from tools.simulation.run import START, RunSettings, run_seed
from tools.simulation.scheduler import Scheduler

if TYPE_CHECKING:
    from tools.simulation.mutants.mutant import Mutant

OPERATED = RunSettings(jobs=20, key_requests=0, delete_share=0.2, redelivery_share=1.0, harvest_share=1.0)
CHANGED = RunSettings(jobs=20, limited_share=1.0, change_share=1.0, parameter_share=1.0)
# These have a budget, too.
BUDGET_SEEDS = (3, 8)
QUICK_MUTANTS = [mutant for mutant in OPERATOR_MUTANTS if not mutant.is_slow]


@pytest.mark.parametrize("seed", range(1, 4))
def test_every_guarantee_holds_while_operators_redeliver_and_harvest_again(seed: int) -> None:
    result = run_seed(seed, OPERATED)

    assert result.violation is None
    assert result.harvested_again > 0
    assert result.redelivered > 0


@pytest.mark.parametrize("seed", BUDGET_SEEDS)
def test_every_guarantee_holds_while_limits_and_parameters_change(seed: int) -> None:
    result = run_seed(seed, CHANGED)

    assert result.violation is None
    assert result.accepted > 0


@pytest.mark.parametrize("mutant", QUICK_MUTANTS, ids=lambda mutant: mutant.name)
def test_broken_operation_is_noticed(mutant: Mutant) -> None:
    assert hunt(mutant, max_seeds=5).guarantee == mutant.guarantee


def test_limit_that_is_lowered_applies_some_time_after_it_is_confirmed() -> None:
    scheduler = Scheduler(1, start=START)
    limit = LimitHistory(scheduler, settled_seconds=10)
    limit.expect(3)
    limit.confirm()
    scheduler.now += 20
    assert limit.find_greatest() == 3

    limit.expect(1)
    scheduler.now += 20
    assert limit.find_greatest() == 3

    limit.confirm()
    scheduler.now += 11
    assert limit.find_greatest() == limit.current == 1
    assert limit.find_greatest(scheduler.now - 11) == 3
