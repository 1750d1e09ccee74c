"""Crash rates follow the count."""

import json
from pathlib import Path

import pytest

from replicate_proxy.testing.checkpoints import CHECKPOINTS
from tools.chaos.crashes import Crashes

POINT, OTHER = "dispatch.prediction_created", "harvest.files_stored"


@pytest.fixture
def crashes(tmp_path: Path) -> Crashes:
    made = Crashes(tmp_path / "faults.json", tmp_path / "faults.jsonl", wanted=20)
    made.begin()
    return made


def strike(crashes: Crashes, kind: str, name: str, times: int = 1) -> None:
    with crashes.log.open("a", encoding="utf-8") as log:
        log.write((json.dumps({"kind": kind, "name": name}) + "\n") * times)


def said(crashes: Crashes) -> dict[str, float]:
    rates: dict[str, float] = json.loads(crashes.file.read_text("utf-8"))["crash"]
    return rates


def test_every_boundary_is_in_danger_from_the_start(crashes: Crashes) -> None:
    assert set(said(crashes)) == set(CHECKPOINTS)
    assert min(said(crashes).values()) > 0


def test_what_lags_behind_is_struck_more_what_is_ahead_less(crashes: Crashes) -> None:
    before = said(crashes)
    strike(crashes, "crash", POINT, times=15)

    crashes.steer(accepted=0.5, over=0.5)

    assert said(crashes)[POINT] < before[POINT]
    assert said(crashes)[OTHER] > before[OTHER]


def test_ingest_is_behind_as_soon_as_the_jobs_are_accepted(crashes: Crashes) -> None:
    before = said(crashes)

    crashes.steer(accepted=1.0, over=0.0)

    assert said(crashes)["ingest.job_stored"] > before["ingest.job_stored"]
    assert said(crashes)[POINT] <= before[POINT]


def test_no_boundary_becomes_a_wall(crashes: Crashes) -> None:
    for _ in range(50):
        crashes.steer(accepted=1.0, over=1.0)

    assert max(said(crashes).values()) < 1


def test_enough_is_enough(crashes: Crashes) -> None:
    strike(crashes, "crash", POINT, times=20)

    crashes.steer(accepted=0.3, over=0.3)

    assert 0 < said(crashes)[POINT] < 0.01


def test_crashes_and_broken_calls_are_counted_apart(crashes: Crashes) -> None:
    strike(crashes, "crash", POINT, times=2)
    strike(crashes, "aws_rejected", "sqs", times=3)
    strike(crashes, "aws_response_lost", "sqs")

    assert crashes.hits() == {POINT: 2}
    assert crashes.aws() == {"sqs refused": 3, "sqs answer lost": 1}


def test_in_the_end_nothing_breaks_and_the_count_stays(crashes: Crashes) -> None:
    strike(crashes, "crash", POINT)

    crashes.end()

    assert not crashes.file.exists()
    assert crashes.hits() == {POINT: 1}


def test_a_new_run_counts_from_nothing(crashes: Crashes) -> None:
    strike(crashes, "crash", POINT)

    crashes.begin()

    assert not crashes.hits()


def test_the_last_jobs_are_spared_where_that_is_wanted(crashes: Crashes) -> None:
    crashes.relents_at = 0.85
    crashes.steer(accepted=1.0, over=0.8)
    assert max(said(crashes).values()) > 0.1

    crashes.steer(accepted=1.0, over=0.85)

    assert max(said(crashes).values()) < 0.01
