"""A small chaos run: forty jobs through every kind of fault, on a stack of its own."""

import json
from pathlib import Path

import pytest

from tools.chaos.crashes import PIPELINE_CHECKPOINTS
from tools.chaos.faults import build_upstream_faults
from tools.chaos.report import Report
from tools.chaos.run import RunOptions, run_chaos
from tools.local.paths import StackFolder
from tools.local.screen import Screen

JOB_COUNT = 40
SEED = 7
STOP_CRASHES_AT_SHARE = 0.85  # no crashes for the last six jobs, which saves minutes
FREQUENT_FAULTS = (
    "webhook lost",
    "webhook duplicated",
    "create rejected (422)",
    "download 500",
    "emulator restarted",
)
# Three minutes on two idle cores, stack included; hundreds of cold starts take longer on a busy machine.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def report_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("chaos") / "chaos.json"


@pytest.fixture(scope="module")
def report(report_file: Path) -> Report:
    options = RunOptions(
        job_count=JOB_COUNT,
        seed=SEED,
        keep_running=False,
        report_file=report_file,
        stop_crashes_at_share=STOP_CRASHES_AT_SHARE,
    )
    return run_chaos(StackFolder("test-chaos"), options, Screen())


def test_no_job_is_lost_unfinished_paid_twice_or_of_wrong_cost(report: Report, report_file: Path) -> None:
    assert report.accepted == JOB_COUNT
    assert (report.lost, report.paid_twice, report.not_terminal) == (0, 0, 0)
    assert (report.conflicting_final_states, report.dead_letters_after_redrive) == (0, 0)
    assert report.webhooks_not_delivered == 0
    assert (report.wrong_costs, report.cost_micro_usd) == (0, report.billed_micro_usd)
    assert report.cost_micro_usd > 0
    assert json.loads(report_file.read_text("utf-8"))["accepted"] == JOB_COUNT


def test_many_checkpoints_and_faults_were_hit(report: Report) -> None:
    """Forty jobs miss some checkpoints and rare faults; `make chaos` requires crashes at every checkpoint."""
    assert set(report.crashes_by_checkpoint) == set(PIPELINE_CHECKPOINTS)
    hit = sum(count > 0 for count in report.crashes_by_checkpoint.values())
    assert hit > len(PIPELINE_CHECKPOINTS) * 0.15
    upstream_faults = build_upstream_faults(JOB_COUNT)
    fired = [fault.name for fault in upstream_faults if report.faults[fault.name]]
    assert len(fired) > len(upstream_faults) * 0.5
    assert min(report.faults[name] for name in FREQUENT_FAULTS) > 0
