"""The exhaustive mode of the simulation, on its smallest scenarios."""

import json
from collections.abc import Iterator
from unittest import mock

import pytest

from replicate_proxy.jobs import state_machine
from replicate_proxy.jobs.changes import Claimed
from replicate_proxy.jobs.model import JobStatus
from tools.simulation.__main__ import main
from tools.simulation.explore import Budget, explore, run_scenario
from tools.simulation.scenarios import SCENARIOS


@pytest.fixture
def claimed_twice() -> Iterator[None]:
    """Let a job be claimed while another dispatcher may be sending it."""
    allowed = {
        **state_machine.ALLOWED,
        Claimed: frozenset({JobStatus.QUEUED, JobStatus.SUBMITTING}),
    }
    with mock.patch.object(state_machine, "ALLOWED", allowed):
        yield


def test_explore_one_fault_finishes_without_violation() -> None:
    exploration = explore("cancel", Budget(preemptions=0, choices=1))

    assert exploration.is_finished
    assert not exploration.violations
    assert exploration.completed_depth == 1
    assert exploration.runs > 10
    assert exploration.states > exploration.runs


@pytest.mark.parametrize("name", ["batch-expand", "batch-cancel-bad"])
def test_explore_one_choice_of_a_large_batch_finishes_without_violation(name: str) -> None:
    exploration = explore(name, Budget(choices=1))

    assert exploration.is_finished
    assert not exploration.violations
    assert exploration.runs > 50


def test_explore_counts_the_same_runs_and_states_again() -> None:
    first, second = (explore("idempotency-key", Budget(crashes=0, faults=0, choices=1)) for _ in range(2))

    assert first.is_finished
    assert (first.runs, first.states) == (second.runs, second.states)


@pytest.mark.usefixtures("claimed_twice")
def test_explore_mutant_is_caught_and_replayed(capsys: pytest.CaptureFixture[str]) -> None:
    exploration = explore("duplicates", Budget(crashes=0, faults=0), stops_at_violation=True)

    found = exploration.violations["never paid twice"]
    assert list(found.script.values()) == ["preempt", "preempt"]
    script = json.dumps(dict(found.script))
    assert main(["replay", "--scenario", "duplicates", "--script", script]) == 1
    shown = capsys.readouterr().out
    assert "VIOLATION" in shown
    assert "◀ preempt" in shown


@pytest.mark.parametrize("script", ["{bad", "[]", '{"dispatch-3/5": 1}'])
def test_replay_of_an_invalid_script_says_what_it_must_be(
    script: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["replay", "--scenario", "duplicates", "--script", script])

    assert stopped.value.code == 2
    assert "argument --script: " in capsys.readouterr().err


def test_explore_without_time_says_that_it_is_not_finished(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["explore", "--scenario", "webhook", "--minutes", "1e-9", "--workers", "1"]

    assert main(arguments) == 0

    assert "NOT finished within 1e-09 minutes: webhook" in capsys.readouterr().out


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenario_without_choices_comes_to_rest(name: str) -> None:
    assert run_scenario(name, {}).violation is None


def test_preempted_dispatch_runs_after_what_it_made_due() -> None:
    run = run_scenario("cancel", {"ingest-1/2": "preempt"}, keeps_steps=True)

    assert run.violation is None
    assert [step.choice for step in run.trace.steps if step.choice] == ["preempt"]
