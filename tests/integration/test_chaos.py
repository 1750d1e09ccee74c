"""A hundred jobs through every kind of fault: `make chaos` in small, on a stack of its own."""

import json
from pathlib import Path

import pytest

from local.chaos import mix
from local.chaos.run import Options, run
from local.home import Home
from local.screen import Screen
from replicate_proxy.steps import STEPS

JOBS = 100
SEED = 7
# Two minutes on an idle machine, stack included; hundreds of cold starts take far longer on a busy one.
SECONDS = 900


@pytest.mark.timeout(SECONDS)
def test_no_job_is_lost_stuck_or_paid_for_twice(tmp_path: Path) -> None:
    path = tmp_path / "chaos.json"

    report = run(Home("chaos-test"), Options(jobs=JOBS, seed=SEED, keep=False, report=path), Screen())

    assert report.accepted == JOBS
    assert (report.lost, report.paid_twice, report.not_terminal) == (0, 0, 0)
    assert (report.conflicting_final_states, report.dlq_after_redrive) == (0, 0)
    # It was chaos indeed: every boundary, every kind of fault that so few calls can be expected to meet.
    assert set(report.crash_points) == set(STEPS)
    assert min(report.crash_points.values()) >= report.crashes_wanted_each
    assert {fault.name for fault in mix.upstream(JOBS)} < set(report.faults)
    assert report.faults["webhook lost"] > 0
    assert report.faults["emulator restarted"] == 1
    assert json.loads(path.read_text("utf-8"))["accepted"] == JOBS
