"""The comparison of a run with the stored one."""

from __future__ import annotations

import pytest

from tools.bench.compare import Change, compare_runs, has_missed_target, render_comparison
from tools.bench.stored_run import Part, Result, StoredRun


def build_run(*results: Result, machine: str = "AMD EPYC") -> StoredRun:
    return StoredRun({"costs": Part("2026-11-26T10:00:00Z", "c0ffee", {"processor": machine}, results)})


@pytest.mark.parametrize(
    ("new", "stored", "verdict"),
    [
        (Result("a", 90, "ms"), Result("a", 100, "ms"), "better"),
        (Result("a", 110, "ms"), Result("a", 100, "ms"), "worse"),
        (Result("a", 110, "jobs/s"), Result("a", 100, "jobs/s"), "better"),
        (Result("a", 100, "ms"), Result("a", 100, "ms"), "same"),
        (Result("a", 110, "ms", values=(104, 110, 115)), Result("a", 100, "ms"), "noise"),
        (Result("a", 110, "ms"), Result("a", 100, "ms", values=(95, 100, 106)), "noise"),
        (Result("a", 120, "ms", values=(119, 120, 121)), Result("a", 100, "ms"), "worse"),
        (Result("a", 2, "unheard-of"), Result("a", 1, "unheard-of"), "changed"),
        (Result("a", None, "ms"), Result("a", 1, "ms"), "not measured"),
        (Result("a", 1, "events", "= 0"), Result("a", 0, "events", "= 0"), "worse"),
    ],
)
def test_verdict_follows_unit_target_and_noise(new: Result, stored: Result, verdict: str) -> None:
    assert Change(new, stored).verdict == verdict


@pytest.mark.parametrize(
    ("new", "stored", "missed"),
    [
        (Result("a", 310, "ms", "<= 300", False), Result("a", 290, "ms", "<= 300", True), True),
        (Result("a", 320, "ms", "<= 300", False), Result("a", 310, "ms", "<= 300", False), False),
        (Result("a", 295, "ms", "<= 300", True), Result("a", 290, "ms", "<= 300", True), False),
        (Result("a", None, "ms", "<= 300"), Result("a", 290, "ms", "<= 300", True), True),
        # A stricter target, which the stored value does not meet either, is no regression.
        (Result("a", 60, "ms", "<= 50", False), Result("a", 61, "ms", "<= 100", True), False),
        (Result("a", 1, "x", ">= 0.7 of linear", False), Result("a", 2, "x", ">= 0.7 of linear", True), True),
    ],
)
def test_target_counts_as_missed_if_stored_value_meets_it(new: Result, stored: Result, missed: bool) -> None:
    assert has_missed_target(build_run(new), build_run(stored)) is missed


def test_comparison_shows_both_values_change_and_noise() -> None:
    new = build_run(Result("cost.sqs", 110, "per job", "<= 105", False, (108, 110, 113)))
    stored = build_run(Result("cost.sqs", 100, "per job", "<= 105", True, (100,)))

    text = "\n".join(render_comparison(new, stored))

    (line,) = [line for line in text.splitlines() if line.startswith("cost.sqs")]
    words = " ".join(line.split())
    assert words == "cost.sqs 110 100 +10.0 % 4.5 % per job worse TARGET MISSED: <= 105"


def test_comparison_names_results_without_counterpart_and_another_machine() -> None:
    new = build_run(Result("a", 1, "ms"), Result("new", 1, "ms"), machine="other")
    stored = build_run(Result("a", 1, "ms"), Result("old", 1, "ms"))

    text = "\n".join(render_comparison(new, stored))

    assert "not in the stored run: new" in text
    assert "only in the stored run: old" in text
    assert "OTHER MACHINE: processor is other, was AMD EPYC" in text


def test_part_that_is_not_stored_is_named() -> None:
    text = "\n".join(render_comparison(build_run(Result("a", 1, "ms")), StoredRun()))

    assert "costs: not in the stored run" in text
    assert compare_runs(build_run(Result("a", 1, "ms")), StoredRun()) == []
