"""The simulation itself: the same seed gives the same run, guarantees hold, and broken code is caught."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from functools import cache

import pytest

from replicate_proxy.jobs import state_machine
from replicate_proxy.jobs.changes import Claimed
from replicate_proxy.jobs.model import Job, JobStatus
from tools.simulation.__main__ import main
from tools.simulation.callers import Callers
from tools.simulation.cost_invariants import Reconciliation
from tools.simulation.mutants.catalog import MUTANTS
from tools.simulation.mutants.hunt import hunt
from tools.simulation.run import RunResult, RunSettings, run_seed
from tools.simulation.shrink import shrink

SMALL = RunSettings(jobs=10)
LIMITED = RunSettings(jobs=20, limited_share=1.0)
QUEUE_LIMITED = RunSettings(jobs=40, fallback_share=0.8, limited_share=1.0, queue_limit_share=0.8)
# Each of these breaks its guarantee within a few seeds; `make mutants` hunts all of them, and the scripts of
# test_regressions.py catch others.
QUICK_MUTANTS = (
    "an unknown outcome counts as not accepted",
    "a final job takes reports",
    "predictions whose webhook is lost are not polled",
    "a job that is counted is counted again",
    "a reservation is made whatever is left",
    "slots are not freed, and the sweep does not notice",
    "a fallback does not wait until the earlier prediction is canceled",
)


@cache
def run_small(seed: int) -> RunResult:
    return run_seed(seed, SMALL)


@pytest.mark.parametrize("seed", range(1, 25))
def test_every_guarantee_holds(seed: int) -> None:
    result = run_small(seed)

    assert result.violation is None, f"python -m tools.simulation replay {seed} --jobs 10 --shrink"
    assert result.accepted > 0


@pytest.mark.parametrize("seed", range(1, 5))
def test_every_guarantee_holds_in_a_storm(seed: int) -> None:
    storm = replace(SMALL, is_storm=True)
    result = run_seed(seed, storm)

    assert result.violation is None, f"python -m tools.simulation replay {seed} --jobs 10 --storm --shrink"
    assert result.trace.hash != run_small(seed).trace.hash
    assert sum(result.faults.values()) > 0


def test_seed_of_full_size_breaks_no_guarantee(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--seeds", "1", "--workers", "1"]) == 0

    assert "0 of 1 seeds broke a guarantee" in capsys.readouterr().out


def test_a_violation_is_shown_when_it_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    mutant = next(mutant for mutant in MUTANTS if mutant.name == "a final job takes reports")

    with mutant.applied():
        assert main(["run", "--seeds", "1", "--jobs", "25", "--workers", "1"]) == 1

    captured = capsys.readouterr()
    for text in (captured.err, captured.out):
        assert "VIOLATION seed 1: state only moves forward: " in text
        assert "replay 1 --jobs 25 --shrink" in text
    assert captured.err.count("VIOLATION") == 1


def test_same_seed_gives_same_trace_in_another_process() -> None:
    program = (
        "from tests.unit.tools.simulation.test_simulation import SMALL; from tools.simulation.run import *; "
        "result = run_seed(7, SMALL); print(result.trace.hash)"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": os.pathsep.join(sys.path)}
    other = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment
    )

    assert other.stdout.split()[-1] == run_small(7).trace.hash
    assert run_small(8).trace.hash != run_small(7).trace.hash


def test_caller_that_ends_by_an_error_breaks_a_guarantee(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_self: Callers, _job: Job) -> None:
        raise ValueError("a mistake")

    monkeypatch.setattr(Callers, "_watch", fail)

    violation = run_seed(1, SMALL).violation

    assert violation is not None
    assert violation.guarantee == "no unexpected error"
    assert "a mistake" in violation.detail


def test_costs_and_usage_add_up_to_the_invoice() -> None:
    money = sum((run_small(seed).money for seed in range(1, 25)), Reconciliation())

    assert money.jobs > 100
    assert money.billed == money.costs > 0
    assert money.usage == money.costs + money.estimated


def test_faults_of_every_kind_occur() -> None:
    occurred = set[str]()
    for seed in range(1, 25):
        occurred |= run_small(seed).faults.keys()

    kinds = {name.split()[-1] for name in occurred}
    assert {"rejected", "response_lost", "timeout", "crash_before", "crash_after", "pause_after"} <= kinds
    assert {"lost", "twice", "late", "very_late", "refused", "reset"} <= kinds


@pytest.mark.parametrize("seed", range(1, 5))
def test_every_guarantee_holds_with_concurrency_limits(seed: int) -> None:
    result = run_seed(seed, LIMITED)

    assert result.violation is None, result.violation


def test_every_guarantee_holds_with_limits_of_the_queue_time() -> None:
    outcomes = Counter[str]()
    for seed in range(1, 4):
        result = run_seed(seed, QUEUE_LIMITED)
        assert result.violation is None, f"seed {seed}: {result.violation}"
        outcomes.update(result.past_attempts)

    assert outcomes["canceled"] > 10
    assert outcomes["not_sent"] > 3


@pytest.mark.parametrize("name", QUICK_MUTANTS)
def test_broken_code_is_caught(name: str) -> None:
    (mutant,) = [mutant for mutant in MUTANTS if mutant.name == name]

    assert hunt(mutant, max_seeds=30).found


def test_failing_run_is_made_shorter_and_fails_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    allowed = {**state_machine.ALLOWED, Claimed: frozenset({JobStatus.QUEUED, JobStatus.SUBMITTING})}
    monkeypatch.setattr(state_machine, "ALLOWED", allowed)
    settings = RunSettings(jobs=4)
    failures = (run_seed(seed, settings) for seed in range(1, 60))
    failure = next(result for result in failures if result.violation is not None)

    shortened = shrink(failure, settings, max_runs=12)

    assert shortened.violation is not None
    assert failure.violation is not None
    assert shortened.violation.guarantee == failure.violation.guarantee
    assert len(shortened.decisions) < len(failure.decisions)
    # The choices that are left say everything: they survive being written down.
    script = json.loads(json.dumps(dict(shortened.decisions)))
    assert run_seed(failure.seed, settings, script=script).trace.hash == shortened.trace.hash


def test_every_mutant_breaks_what_is_there() -> None:
    """A mutant whose function was moved or renamed would end `make mutants`."""
    for mutant in MUTANTS:
        with mutant.applied():
            pass


@pytest.mark.parametrize("seed", range(1, 5))
def test_invalid_inputs_are_refused_once_the_schema_is_known(seed: int) -> None:
    result = run_seed(seed, RunSettings(jobs=25, invalid_share=0.4))

    assert result.violation is None, f"seed {seed}: {result.violation}"
    assert result.refused > 0


def test_deletions_leave_nothing_and_remove_nothing_early() -> None:
    results = [run_seed(seed, RunSettings(jobs=20, key_requests=0, delete_share=0.5)) for seed in range(1, 5)]

    assert [result.violation for result in results] == [None] * 4
    assert sum(result.deleted for result in results) > sum(result.accepted for result in results) / 4


def test_retries_by_operators_create_one_job_each() -> None:
    results = [run_seed(seed, RunSettings(jobs=20, key_requests=0, retry_share=1.0)) for seed in range(1, 5)]

    assert [result.violation for result in results] == [None] * 4
    assert sum(result.retried for result in results) >= 4
