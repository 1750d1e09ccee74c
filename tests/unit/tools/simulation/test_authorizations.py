"""Holders who use a key through API Gateway and the authorizer while operators change it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tools.simulation.decisions import Rates
from tools.simulation.faults import FaultMix
from tools.simulation.mutants.authorizations import AUTHORIZATION_MUTANTS
from tools.simulation.mutants.hunt import hunt
from tools.simulation.run import RunSettings, run_seed

if TYPE_CHECKING:
    from tools.simulation.mutants.mutant import Mutant


@pytest.mark.parametrize("seed", range(1, 5))
def test_every_guarantee_holds_while_the_access_table_is_often_unreadable(seed: int) -> None:
    mix = FaultMix(aws_reads=Rates(rejected=0.3), aws_writes=Rates(rejected=0.1))

    assert run_seed(seed, RunSettings(jobs=1, key_requests=20), mix=mix).violation is None


@pytest.mark.parametrize("mutant", AUTHORIZATION_MUTANTS, ids=lambda mutant: mutant.name)
def test_broken_authorizer_is_noticed(mutant: Mutant) -> None:
    assert hunt(mutant, max_seeds=6).guarantee == mutant.guarantee
