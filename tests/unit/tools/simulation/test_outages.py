"""Application webhooks whose function AWS refuses for hours: dead letters, redriven by the operator."""

from __future__ import annotations

from typing import Any

import pytest

from tools.simulation.faults import FaultMix, FaultPlan
from tools.simulation.run import START, RunSettings, run_seed
from tools.simulation.stack_operators import StackOperators

# Jobs arrive for 40 minutes. A batch of the stream is given up after six attempts or an hour.
SETTINGS = RunSettings(jobs=12, fault_seconds=7200, key_requests=0)
REFUSED_SECONDS = 6600


@pytest.fixture(autouse=True)
def notify_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse every call of AWS that the notify function makes."""
    choose = FaultPlan._choose_aws_fault

    def refuse(plan: FaultPlan, actor: Any, call: Any) -> str:
        is_over = plan._scheduler.now >= START + REFUSED_SECONDS
        if is_over or not actor.process.name.startswith("notify"):
            return choose(plan, actor, call)
        actor.process.injected_faults += 1
        return "rejected"

    monkeypatch.setattr(FaultPlan, "_choose_aws_fault", refuse)


@pytest.mark.parametrize("seed", [1, 2])
def test_no_event_is_missed_when_dead_letters_are_redriven(seed: int) -> None:
    result = run_seed(seed, SETTINGS, mix=FaultMix())

    assert result.violation is None
    assert result.accepted > 0
    # The stream gave pages without records before those with records.
    assert result.faults["stream empty"] > 0


def test_events_are_missed_when_nobody_redrives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StackOperators, "_redrive", lambda _self: None)

    violation = run_seed(1, SETTINGS, mix=FaultMix()).violation

    assert violation is not None
    assert violation.guarantee == "no event is missed"
