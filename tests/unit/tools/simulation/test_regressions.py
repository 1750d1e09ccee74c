"""Runs that broke a guarantee before the code was changed: the faults of each are all that it takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tools.simulation.explore import run_scenario
from tools.simulation.run import RunSettings, run_seed

if TYPE_CHECKING:
    from collections.abc import Mapping

KEYS_ONLY = RunSettings(jobs=0, fault_seconds=2700)


@pytest.mark.parametrize(
    ("seed", "settings", "script"),
    [
        pytest.param(
            7,
            RunSettings(jobs=6, fault_seconds=2700, key_requests=0),
            {
                "webhook-5/1": "late",
                "ingest-4/10": "rejected",
                "webhook-call-16/3": "late",
                "sweep-14/11": "twice",
                "deliver-71/11": "late",
            },
            id="delivered once after success: the receiver's health is not written",
        ),
        pytest.param(
            12,
            RunSettings(jobs=5, key_requests=0),
            {"deliver-7/8": "timeout", "deliver-8/12": "response_lost"},
            id="deliveries are in order: the success of a later event meets its own effect",
        ),
        pytest.param(
            4,
            RunSettings(jobs=6, fault_seconds=2700, key_requests=0),
            {"deliver-5/5": "response_lost"},
            id="a counted attempt is sent: a claim meets its own effect",
        ),
        pytest.param(
            2,
            RunSettings(jobs=6, fault_seconds=2700, key_requests=0),
            {"deliver-7/9": "response_lost"},
            id="a failed request counts once: its update is repeated",
        ),
        pytest.param(
            1, KEYS_ONLY, {}, id="changes of a key do not undo each other, a secret keeps its grace"
        ),
    ],
)
def test_seed_breaks_no_guarantee_any_more(
    seed: int, settings: RunSettings, script: Mapping[str, str]
) -> None:
    assert run_seed(seed, settings, script=script).violation is None


@pytest.mark.parametrize(
    ("scenario", "script"),
    [
        ("endpoint", {"endpoints-2/1": "preempt", "notify-0-4/2": "preempt"}),
        ("breaker", {}),
    ],
)
def test_scenario_breaks_no_guarantee_any_more(scenario: str, script: Mapping[str, str]) -> None:
    assert run_scenario(scenario, script).violation is None
