"""The report of a chaos run: its criteria and its file."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tools.chaos.report import Report

PASSED = Report(
    seed=1,
    accepted=100,
    lost=0,
    paid_twice=0,
    not_terminal=0,
    conflicting_final_states=0,
    dead_letters_after_redrive=0,
    faults={"webhook lost": 20},
    crashes_by_checkpoint={"dispatch.job_claimed": 2},
    seconds=1.5,
    jobs=100,
    retries=3,
    redriven_messages=4,
    required_crashes_per_checkpoint=2,
    final_statuses={},
    outputs_not_stored=0,
    webhooks_not_delivered=0,
    webhooks_lost_in_restart=2,
    wrong_costs=0,
    billed_micro_usd=500,
    cost_micro_usd=500,
    estimated_costs=1,
    unknown_costs=1,
)


def test_report_passes_without_violations_and_with_enough_crashes() -> None:
    assert PASSED.passed


@pytest.mark.parametrize(
    "report",
    [
        replace(PASSED, accepted=99),
        replace(PASSED, lost=1),
        replace(PASSED, paid_twice=1),
        replace(PASSED, not_terminal=1),
        replace(PASSED, conflicting_final_states=1),
        replace(PASSED, wrong_costs=1),
        replace(PASSED, webhooks_not_delivered=1),
        replace(PASSED, dead_letters_after_redrive=1),
        replace(PASSED, crashes_by_checkpoint={"dispatch.job_claimed": 2, "dispatch.prediction_created": 1}),
        replace(PASSED, crashes_by_checkpoint={}),
    ],
)
def test_report_fails_when_one_criterion_is_not_met(report: Report) -> None:
    assert not report.passed
    assert list(report.criteria.values()).count(False) == 1


def test_report_file_has_numbers_by_name(tmp_path: Path) -> None:
    path = tmp_path / "bench" / "chaos.json"

    PASSED.write(path)

    written = json.loads(path.read_text("utf-8"))
    assert list(written)[:7] == [
        "seed",
        "accepted",
        "lost",
        "paid_twice",
        "not_terminal",
        "conflicting_final_states",
        "dead_letters_after_redrive",
    ]
    assert written["faults"] == {"webhook lost": 20}
    assert written["crashes_by_checkpoint"] == {"dispatch.job_claimed": 2}
    assert written["seconds"] == 1.5
