"""Crash injection: rates by checkpoint, and the count of logged faults."""

import json
from pathlib import Path

import pytest

from tools.chaos.crashes import (
    PIPELINE_CHECKPOINTS,
    CrashInjector,
    count_required_crashes,
    count_wanted_crashes,
)

CHECKPOINT, OTHER_CHECKPOINT = "dispatch.prediction_created", "harvest.files_stored"


@pytest.fixture
def injector(tmp_path: Path) -> CrashInjector:
    injector = CrashInjector(tmp_path / "faults.json", tmp_path / "faults.jsonl", wanted=20)
    injector.start()
    return injector


def log_faults(injector: CrashInjector, kind: str, name: str, times: int = 1) -> None:
    with injector.log_file.open("a", encoding="utf-8") as log:
        log.write((json.dumps({"kind": kind, "name": name}) + "\n") * times)


def read_rates(injector: CrashInjector) -> dict[str, float]:
    rates: dict[str, float] = json.loads(injector.faults_file.read_text("utf-8"))["crash"]
    return rates


def test_start_gives_every_checkpoint_a_rate(injector: CrashInjector) -> None:
    assert set(read_rates(injector)) == set(PIPELINE_CHECKPOINTS)
    assert min(read_rates(injector).values()) > 0


def test_rate_decreases_when_ahead_and_increases_when_behind(injector: CrashInjector) -> None:
    before = read_rates(injector)
    log_faults(injector, "crash", CHECKPOINT, times=15)

    injector.adjust_rates(accepted_share=0.5, finished_share=0.5)

    assert read_rates(injector)[CHECKPOINT] < before[CHECKPOINT]
    assert read_rates(injector)[OTHER_CHECKPOINT] > before[OTHER_CHECKPOINT]


def test_ingest_rates_follow_accepted_jobs(injector: CrashInjector) -> None:
    before = read_rates(injector)

    injector.adjust_rates(accepted_share=1.0, finished_share=0.0)

    assert read_rates(injector)["ingest.job_stored"] > before["ingest.job_stored"]
    assert read_rates(injector)[CHECKPOINT] <= before[CHECKPOINT]


def test_rates_stay_below_one(injector: CrashInjector) -> None:
    for _ in range(50):
        injector.adjust_rates(accepted_share=1.0, finished_share=1.0)

    assert max(read_rates(injector).values()) < 1


def test_checkpoint_with_enough_crashes_gets_minimal_rate(injector: CrashInjector) -> None:
    log_faults(injector, "crash", CHECKPOINT, times=20)

    injector.adjust_rates(accepted_share=0.3, finished_share=0.3)

    assert 0 < read_rates(injector)[CHECKPOINT] < 0.01


def test_crashes_and_aws_faults_are_counted_separately(injector: CrashInjector) -> None:
    log_faults(injector, "crash", CHECKPOINT, times=2)
    log_faults(injector, "aws_rejected", "sqs", times=3)
    log_faults(injector, "aws_response_lost", "sqs")

    assert injector.count_crashes() == {CHECKPOINT: 2}
    assert injector.count_aws_faults() == {"sqs rejected": 3, "sqs response lost": 1}


def test_stop_removes_faults_and_keeps_counts(injector: CrashInjector) -> None:
    log_faults(injector, "crash", CHECKPOINT)

    injector.stop()

    assert not injector.faults_file.exists()
    assert injector.count_crashes() == {CHECKPOINT: 1}


def test_restart_resets_counts(injector: CrashInjector) -> None:
    log_faults(injector, "crash", CHECKPOINT)

    injector.start()

    assert not injector.count_crashes()


def test_rates_become_minimal_after_stop_share(injector: CrashInjector) -> None:
    injector.stop_at_share = 0.85
    injector.adjust_rates(accepted_share=1.0, finished_share=0.8)
    assert max(read_rates(injector).values()) > 0.1

    injector.adjust_rates(accepted_share=1.0, finished_share=0.85)

    assert max(read_rates(injector).values()) < 0.01


@pytest.mark.parametrize(
    ("job_count", "wanted", "required"),
    [(20, 1, 0), (100, 2, 1), (200, 4, 2), (1000, 20, 20), (3000, 60, 60)],
)
def test_small_run_needs_half_of_the_crashes_that_it_aims_at(
    job_count: int, wanted: int, required: int
) -> None:
    assert count_wanted_crashes(job_count) == wanted
    assert count_required_crashes(job_count) == required
