"""Large batches in the simulation: each line has one outcome, whatever fails, and broken code is caught."""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import TYPE_CHECKING

import pytest

from replicate_proxy.batches.worker import BatchWorker
from tools.simulation.mutants.batches import BATCH_MUTANTS
from tools.simulation.mutants.hunt import hunt
from tools.simulation.mutants.reads import RESULT_MUTANTS
from tools.simulation.run import RunResult, RunSettings, run_seed

if TYPE_CHECKING:
    from tools.simulation.mutants.mutant import Mutant

BATCHES = RunSettings(jobs=20, key_requests=0, delete_share=0.3, batch_share=1.0)
SEEDS = range(1, 13)
# Each of these breaks its guarantee within a few seeds; `make mutants` hunts all of them.
QUICK_MUTANTS = [mutant for mutant in (*BATCH_MUTANTS, *RESULT_MUTANTS) if not mutant.is_slow]


@cache
def run(seed: int) -> RunResult:
    return run_seed(seed, BATCHES)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_guarantee_holds_with_large_batches(seed: int) -> None:
    result = run(seed)

    assert result.violation is None, result.violation
    assert result.large_batches["batches"] > 0


def test_batches_are_rejected_line_by_line_canceled_and_removed() -> None:
    found = Counter[str]()
    checkpoints = Counter[str]()
    faults = Counter[str]()
    for seed in SEEDS:
        found.update(run(seed).large_batches)
        checkpoints.update(run(seed).checkpoints)
        faults.update(run(seed).faults)

    assert found["jobs"] > found["lines"] / 2
    assert found["lines"] > 2 * found["batches"]
    assert found["rejected"] > 20
    assert found["skipped"] > 5
    assert found["canceled"] > 5
    assert found["removed"] > 5
    # Several slices and several parts of results of one batch
    assert checkpoints["batch.slice_saved"] > found["batches"]
    assert checkpoints["batch.part_written"] > 2 * found["batches"]
    assert {"invocation lost", "invocation twice", "invocation late"} <= faults.keys()


def test_results_are_read_while_they_come_and_at_the_end() -> None:
    reads = Counter[str]()
    for seed in SEEDS:
        reads.update(run(seed).reads)

    assert reads["pages of results"] > 2 * reads["complete results"] > 0
    assert reads["files of results"] > 10
    assert reads["missing results"] > 0


def test_error_that_the_worker_does_not_expect_breaks_a_guarantee(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_arguments: object) -> bool:
        raise TypeError("a mistake")

    monkeypatch.setattr(BatchWorker, "_check_end", fail)

    violation = run_seed(1, BATCHES).violation

    assert violation is not None
    assert violation.guarantee == "no unexpected error"
    assert "BatchFailed" in violation.detail


@pytest.mark.parametrize("mutant", QUICK_MUTANTS, ids=lambda mutant: mutant.name)
def test_broken_code_of_large_batches_is_caught(mutant: Mutant) -> None:
    assert hunt(mutant, max_seeds=30).found
