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
FREQUENT = (
    "webhook lost",
    "webhook duplicated",
    "create refused (422)",
    "download 500",
    "emulator restarted",
)
# Two minutes on an idle machine, stack included; hundreds of cold starts take far longer on a busy one.
SECONDS = 900


@pytest.mark.timeout(SECONDS)
def test_no_job_is_lost_stuck_or_paid_for_twice(tmp_path: Path) -> None:
    path = tmp_path / "chaos.json"

    report = run(Home("test-chaos"), Options(jobs=JOBS, seed=SEED, keep=False, report=path), Screen())

    assert report.accepted == JOBS
    assert (report.lost, report.paid_twice, report.not_terminal) == (0, 0, 0)
    assert (report.conflicting_final_states, report.dlq_after_redrive) == (0, 0)
    # It was chaos indeed. So few jobs may miss a rare fault; `make chaos` holds each boundary to its number.
    assert set(report.crash_points) == set(STEPS)
    assert sum(hits > 0 for hits in report.crash_points.values()) > len(STEPS) * 0.8
    struck = [fault.name for fault in mix.upstream(JOBS) if report.faults[fault.name]]
    assert len(struck) > len(mix.upstream(JOBS)) * 0.6
    assert min(report.faults[name] for name in FREQUENT) > 0
    assert json.loads(path.read_text("utf-8"))["accepted"] == JOBS
