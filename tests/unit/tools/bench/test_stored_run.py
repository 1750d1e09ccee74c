"""The stored run: the median of repeats, targets, and its file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tools.bench.stored_run import RESULTS_FILE, Part, Result, StoredRun, is_met, merge_repeats

PART = Part(
    date="2026-11-26T10:00:00Z",
    commit="c0ffee",
    machine={"cores": 2},
    results=(Result("a.p50", 2, "ms", "<= 3", True, (1, 2, 9)), Result("b", None, "s")),
    repeats=3,
    load=0.25,
    samples={"a": {"unit": "ms", "values": [1, 2]}},
)


def line(value: float | None, target: str = "", met: bool | None = None) -> dict[str, Any]:
    return {"name": "a", "value": value, "unit": "ms", "target": target, "met": met}


def test_run_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    run = StoredRun({"pipeline": PART})

    run.save(path)

    assert StoredRun.load(path) == run
    assert '\n  {"name": "b", ' in path.read_text("utf-8"), "a result should be a line of its own"


def test_missing_file_is_an_empty_run(tmp_path: Path) -> None:
    assert StoredRun.load(tmp_path / "results.json").parts == {}


def test_replaced_part_leaves_others_with_their_date() -> None:
    newer = Part("2026-11-27T10:00:00Z", "beef", {}, ())

    run = StoredRun({"pipeline": PART, "costs": PART}).replace_part("costs", newer)

    assert run.parts == {"pipeline": PART, "costs": newer}


def test_merge_takes_median_and_keeps_values_in_order() -> None:
    merged = merge_repeats([[line(9)], [line(1)], [line(2)]])

    assert merged["results"] == (Result("a", 2, "ms", values=(9, 1, 2)),)
    assert merged["repeats"] == 3


def test_merge_compares_median_with_target() -> None:
    """Two of three repeats have met it, and the median of an even number is between two values."""
    (result,) = merge_repeats([[line(1, "< 2.5", True)], [line(4, "< 2.5", False)]])["results"]

    assert (result.value, result.met) == (2.5, False)


def test_merge_takes_majority_where_target_is_no_bound_of_the_value() -> None:
    repeats = [[line(5, ">= 0.7 of linear", met)] for met in (True, False, True)]

    assert merge_repeats(repeats)["results"][0].met is True


def test_merge_of_what_could_not_be_measured_has_no_value() -> None:
    assert merge_repeats([[line(None, "<= 1")]])["results"] == (Result("a", None, "ms", "<= 1"),)


def test_merge_joins_samples_of_repeats() -> None:
    repeats = [[{"samples": "a", "unit": "ms", "values": [number]}] for number in (1, 2)]

    assert merge_repeats(repeats)["samples"] == {"a": {"unit": "ms", "values": [1, 2]}}


@pytest.mark.parametrize(
    ("target", "value", "met"),
    [
        ("<= 300", 300, True),
        ("<= 300", 301, False),
        ("< 1", 1, False),
        (">= 0.94", 0.94, True),
        ("= 50", 49, False),
        ("<= 0.75 (worst image)", 0.8, False),
        (">= 0.7 of linear", 1, None),
        ("", 1, None),
    ],
)
def test_is_met_reads_targets(target: str, value: float, met: bool | None) -> None:
    assert is_met(target, value) is met


@pytest.mark.parametrize(
    ("result", "better", "worse"),
    [
        (Result("a", 1, "ms"), 1, 2),
        (Result("a", 1, "jobs/s"), 2, 1),
        (Result("a", 1, "unheard-of", "<= 3"), 1, 2),
        (Result("a", 1, "ms", ">= 3"), 2, 1),
        (Result("a", 1, "jobs", "= 30"), 30, 31),
    ],
)
def test_rate_is_higher_for_better_value(result: Result, better: float, worse: float) -> None:
    rates = result.rate(better), result.rate(worse)

    assert None not in rates
    assert rates[0] > rates[1]  # type: ignore[operator]  # None is excluded above


def test_every_stored_result_has_a_direction() -> None:
    results = StoredRun.load(RESULTS_FILE).list_results()

    assert results
    assert [result.name for result in results if result.rate(1) is None] == []


def test_stored_results_are_the_medians_of_their_values() -> None:
    """A value that was typed into the file would differ."""
    for part in StoredRun.load(RESULTS_FILE).parts.values():
        for result in part.results:
            repeats = [[{**line(value, result.target), "name": result.name}] for value in result.values]
            (merged,) = merge_repeats(repeats)["results"] if repeats else (Result("", None, ""),)
            assert merged.value == result.value, result.name
