"""Runs that broke a guarantee before the code was changed: the faults of each are all that it takes.

Most are run again with what was missing then taken away, so that they cannot become meaningless.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tools.simulation.explore import run_scenario
from tools.simulation.faults import FaultMix
from tools.simulation.mutants.catalog import MUTANTS
from tools.simulation.mutants.mutant import Mutant
from tools.simulation.mutants.submissions import LATE_WEBHOOKS
from tools.simulation.run import RunSettings, run_seed

if TYPE_CHECKING:
    from collections.abc import Mapping

KEYS_ONLY = RunSettings(jobs=0, fault_seconds=2700)


def find_mutant(name: str) -> Mutant:
    (mutant,) = [mutant for mutant in MUTANTS if mutant.name == name]
    return mutant


@pytest.mark.parametrize(
    ("seed", "settings", "script", "broken"),
    [
        pytest.param(
            6,
            RunSettings(jobs=3, fault_seconds=2700, key_requests=0),
            {"notify-0-9/12": "rejected", "deliver-2/11": "rejected"},
            "a success is saved after its attempt is recorded",
            id="delivered once after success: the receiver's health is not written",
        ),
        pytest.param(
            12,
            RunSettings(jobs=5, key_requests=0),
            {"deliver-7/8": "timeout", "deliver-8/12": "response_lost"},
            "an event is sent although a later one has succeeded",
            id="deliveries are in order: the success of a later event meets its own effect",
        ),
        pytest.param(
            4,
            RunSettings(jobs=6, fault_seconds=2700, key_requests=0),
            {"deliver-5/5": "response_lost"},
            "a write does not recognize its own effect",
            id="a counted attempt is sent: a claim meets its own effect",
        ),
        pytest.param(
            2,
            RunSettings(jobs=6, fault_seconds=2700, key_requests=0),
            {"deliver-7/9": "response_lost"},
            "a repeated write counts a failure again",
            id="a failed request counts once: its update is repeated",
        ),
        pytest.param(
            1, KEYS_ONLY, {}, "a change of a key overwrites other changes", id="changes of a key are kept"
        ),
        pytest.param(
            1,
            KEYS_ONLY,
            {},
            "a rotation invalidates all secrets but the last two",
            id="a secret keeps its grace",
        ),
    ],
)
def test_seed_breaks_a_guarantee_only_without_what_keeps_it(
    seed: int, settings: RunSettings, script: Mapping[str, str], broken: str
) -> None:
    assert run_seed(seed, settings, script=script, mix=FaultMix()).violation is None
    with find_mutant(broken).applied():
        assert run_seed(seed, settings, script=script, mix=FaultMix()).violation is not None


@pytest.mark.parametrize(
    ("seed", "settings", "script"),
    [
        pytest.param(
            40,
            RunSettings(jobs=15),
            {
                "ingest-5/8": "twice",
                "dispatch-9/7": "status_500",
                "dispatch-10/7": "status_500_after",
                "dispatch-13/7": "refused",
                "dispatch-13/8": "status_500_after",
            },
            id="never paid twice: a job whose own prediction is disputed adopts that of another",
        ),
    ],
)
def test_seed_with_its_own_replicate_breaks_no_guarantee_any_more(
    seed: int, settings: RunSettings, script: Mapping[str, str]
) -> None:
    """As above, with run times, outcomes and listing of Replicate as the seed draws them."""
    assert run_seed(seed, settings, script=script).violation is None


def test_clock_of_replicate_that_is_behind_does_not_cost_a_prediction() -> None:
    script = {"dispatch-1/7": "response_lost", "dispatch-3/7": "response_lost"}

    assert run_seed(11, RunSettings(jobs=25), script=script, mix=LATE_WEBHOOKS).violation is None


@pytest.mark.parametrize(
    ("broken", "scenario", "script"),
    [
        (
            "a job is given up although it has moved on",
            "deadline",
            {"dispatch-1/2": "pause 12", "dispatch-2/2": "pause 3"},
        ),
        (
            "a check that was decided earlier ends the lease of a harvester",
            "sweep-webhook",
            {"sweep-5.1/2": "preempt", "harvest-1/3": "preempt"},
        ),
        (
            "an adopted prediction is kept when it proves to be another job's",
            "adoption",
            {"sweep-15.2/1": "pause 60"},
        ),
        (
            "a prediction is taken from its adopter before it is its own job's",
            "adoption",
            {"ingest-2/1": "crash_before", "track-2/5": "crash_after"},
        ),
        (
            "a job gets its prediction back before its record says so",
            "adoption",
            {"dispatch-3/4": "crash_after", "track-2/5": "crash_after"},
        ),
        (
            "a poll proves whose prediction it has read",
            "adoption",
            {"ingest-2/1": "crash_before", "track-1/1": "pause 60"},
        ),
        ("a prediction is adopted before the index shows whose it may be as well", "adoption-lag", {}),
        ("a cancel that fails is received again", "cancel-waits", {}),
        (
            "what an endpoint missed is searched for only once",
            "endpoint",
            {"endpoints-2/1": "preempt", "notify-0-4/2": "preempt"},
        ),
        ("any call may end the probe of the breaker", "breaker", {}),
        ("the progress of an expansion is saved before its jobs", "batch", {"batch-1/8": "crash_after"}),
        (
            "deliveries are deleted while their change may still be sent",
            "deletion",
            {"notify-0-4/5": "crash_after", "notify-0-6/2": "pause 10"},
        ),
    ],
)
def test_script_breaks_a_guarantee_only_without_what_keeps_it(
    broken: str, scenario: str, script: Mapping[str, str]
) -> None:
    assert run_scenario(scenario, script).violation is None
    with find_mutant(broken).applied():
        assert run_scenario(scenario, script).violation is not None


def test_callback_during_a_resubmission_costs_no_result() -> None:
    """An adopted prediction returns to its job while that is sent again: the surplus is canceled at once."""
    script = {"ingest-2/1": "pause 60", "dispatch-3/5": "preempt"}

    assert run_scenario("adoption", script).violation is None
