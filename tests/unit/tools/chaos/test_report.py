"""A chaos run's report: what it says, and when it is not good enough."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tools.chaos.report import Report

GOOD = Report(
    seed=1,
    accepted=100,
    lost=0,
    paid_twice=0,
    not_terminal=0,
    conflicting_final_states=0,
    dlq_after_redrive=0,
    faults={"webhook lost": 20},
    crash_points={"dispatch.job_claimed": 2},
    seconds=1.5,
    jobs=100,
    fresh_attempts=3,
    redriven=4,
    crashes_wanted_each=2,
    endings={},
    outputs_left_at_replicate=0,
    webhooks_not_delivered=0,
)


def test_all_at_zero_and_every_boundary_struck_is_good() -> None:
    assert GOOD.met


@pytest.mark.parametrize(
    "changed",
    [
        replace(GOOD, accepted=99),
        replace(GOOD, lost=1),
        replace(GOOD, paid_twice=1),
        replace(GOOD, not_terminal=1),
        replace(GOOD, conflicting_final_states=1),
        replace(GOOD, dlq_after_redrive=1),
        replace(GOOD, crash_points={"dispatch.job_claimed": 2, "dispatch.prediction_created": 1}),
        replace(GOOD, crash_points={}),
    ],
)
def test_any_missed_bar_is_not(changed: Report) -> None:
    assert not changed.met
    assert list(changed.bars.values()).count(False) == 1


def test_the_file_holds_the_numbers_under_their_names(tmp_path: Path) -> None:
    path = tmp_path / "bench" / "chaos.json"

    GOOD.write(path)

    written = json.loads(path.read_text("utf-8"))
    assert list(written)[:7] == [
        "seed",
        "accepted",
        "lost",
        "paid_twice",
        "not_terminal",
        "conflicting_final_states",
        "dlq_after_redrive",
    ]
    assert (written["faults"], written["crash_points"]) == ({"webhook lost": 20}, {"dispatch.job_claimed": 2})
    assert written["seconds"] == 1.5
