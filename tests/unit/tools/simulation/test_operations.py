"""Operators who erase a tenant, and who cancel, retry and delete many jobs, while jobs run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tools.simulation.mutants.hunt import hunt
from tools.simulation.mutants.operations import OPERATION_MUTANTS
from tools.simulation.run import RunSettings, run_seed

if TYPE_CHECKING:
    from tools.simulation.mutants.mutant import Mutant

OPERATED = RunSettings(
    jobs=20,
    key_requests=0,
    limited_share=1.0,
    retry_share=0.5,
    batch_share=0.3,
    erasure_share=1.0,
    bulk_share=1.0,
    late_redrive_share=1.0,
)


@pytest.mark.parametrize("seed", range(1, 3))
def test_every_guarantee_holds_while_operators_erase_a_tenant_and_act_on_many_jobs(seed: int) -> None:
    result = run_seed(seed, OPERATED)

    assert result.violation is None
    assert result.checkpoints["admin.erasure_unblocked"] == 1
    assert result.checkpoints["admin.bulk_slice_saved"] > 0


@pytest.mark.parametrize("mutant", OPERATION_MUTANTS, ids=lambda mutant: mutant.name)
def test_broken_operation_is_noticed(mutant: Mutant) -> None:
    assert hunt(mutant, max_seeds=6).guarantee == mutant.guarantee
