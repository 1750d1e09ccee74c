"""The tables of the performance page, from a small run."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tools.bench.stored_run import Part, Result, StoredRun
from tools.docs.measured import format_range, format_target, format_value
from tools.docs.peers import render_peers
from tools.docs.performance import render_runs, render_targets
from tools.docs.plot_data import describe_data, find_growth, find_latencies
from tools.docs.sections import replace_sections
from tools.docs.waterfall import render_waterfall

MACHINE = {"processor": "AMD EPYC", "cores": 2, "memory_gb": 8.1, "system": "Linux", "python": "3.13.0"}


def build_run(part: str, *results: Result, **fields: Any) -> StoredRun:
    machine = fields.pop("machine", MACHINE)
    return StoredRun({part: Part("2026-11-26T10:11:12Z", "c0ffee00c0ffee00", machine, results, **fields)})


def find_row(page: str, text: str) -> list[str]:
    (row,) = [line for line in page.splitlines() if line.startswith(f"| {text}")]
    return [cell.strip() for cell in row.strip("|").split("|")][1:]


def test_row_has_value_repeats_target_and_verdict() -> None:
    result = Result("submission_to_create_call.p50", 54, "ms", "<= 50", False, (48, 54, 61))

    page = render_targets(build_run("pipeline", result))

    assert find_row(page, "submission to Replicate's create call, median") == [
        "54 ms", "48 to 61 ms", "≤ 50 ms", "**no**",
    ]  # fmt: skip


def test_row_of_several_results_shows_the_worst_and_names_those_that_miss_their_target() -> None:
    results = (
        Result("console.usage.p50", 74, "ms", "<= 300", True),
        Result("console.overview.p50", 332, "ms", "<= 300", False),
        Result("console.audit.p50", 301, "ms", "<= 300", False),
        Result("console.count.p50", 2773, "ms"),
    )

    page = render_targets(build_run("console", *results))

    assert find_row(page, "server time of the slowest page") == [
        "332 ms (`overview`)", "", "≤ 300 ms", "**no**, 2 of 3: `overview`, `audit`",
    ]  # fmt: skip


def test_row_without_result_says_so() -> None:
    page = render_targets(build_run("console", Result("console.usage.p50", 74, "ms", "<= 300", True)))

    assert find_row(page, "transfer of the largest page") == ["not in the stored run", "", "", ""]


def test_group_without_results_has_no_table() -> None:
    page = render_targets(build_run("console", Result("console.usage.p50", 74, "ms", "<= 300", True)))

    assert "`make bench PART=images`, not in the stored run.\n" in page
    assert "PNGs" not in page


def test_result_with_target_that_no_row_names_is_shown_nevertheless() -> None:
    page = render_targets(build_run("new", Result("unheard.of", 1, "x its time", "<= 2", True)))

    assert find_row(page, "`unheard.of`") == ["1 x its time", "", "≤ 2 x its time", "yes"]


def test_runs_list_date_commit_load_speed_and_machine_of_each_part() -> None:
    run = build_run("costs", repeats=3, load=0.25, loop_seconds=1.5).replace_part(
        "console", build_run("console", machine=MACHINE | {"cores": 8}).parts["console"]
    )

    page = render_runs(run)

    date, commit = "2026-11-26 10:11 UTC", "`c0ffee00c0ff`"
    assert find_row(page, "`costs`") == [date, commit, "3", "0.25", "1.5 s", "2"]
    assert find_row(page, "`console`") == [date, commit, "1", "unknown", "unknown", "1"]
    assert "2. AMD EPYC, 2 cores, 8.1 GB; Linux; Python 3.13.0" in page


def test_run_of_changed_files_is_marked_at_its_commit() -> None:
    part = replace(build_run("costs").parts["costs"], commit="c0ffee00c0ffee00+")

    page = render_runs(StoredRun({"costs": part}))

    assert find_row(page, "`costs`")[1] == "`c0ffee00c0ff+`"


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (54.3, "ms", "54 ms"),
        (4.22, "ms", "4.2 ms"),
        (0.25, "ms", "0.25 ms"),
        (0.2234, "s", "0.22 s"),
        (0.0781, "$", "$0.078"),
        (86_357, "bytes", "86 kB"),
        (1000, "events", "1,000 events"),
        (None, "ms", "not measured"),
    ],
)
def test_value_is_written_with_its_unit(value: float | None, unit: str, text: str) -> None:
    assert format_value(value, unit) == text


@pytest.mark.parametrize(
    ("target", "unit", "text"),
    [
        ("<= 0.08", "$", "≤ $0.080"),
        ("= 300", "jobs", "300 jobs"),
        ("<= 0.75 (worst image)", "x its time", "≤ 0.75 x its time (worst image)"),
        (">= 0.7 of linear", "images/s", "≥ 0.7 of linear"),
        ("", "ms", ""),
    ],
)
def test_target_is_written_with_its_unit(target: str, unit: str, text: str) -> None:
    assert format_target(Result("a", 1, unit, target)) == text


@pytest.mark.parametrize(
    ("values", "text"), [((), ""), ((1,), ""), ((2, 1, 3), "1 to 3 ms"), ((2, 2), "no difference")]
)
def test_range_is_empty_without_repeats(values: tuple[float, ...], text: str) -> None:
    assert format_range(Result("a", 2, "ms", values=values)) == text


def test_section_is_replaced_and_prose_is_kept() -> None:
    page = "before\n<!-- a: generated by x -->\nold\n<!-- end of a -->\nafter\n"

    replaced = replace_sections(page, {"a": "new"})

    assert replaced == "before\n<!-- a: generated by x -->\n\nnew\n\n<!-- end of a -->\nafter\n"
    assert replace_sections(replaced, {"a": "new"}) == replaced


def test_section_without_comments_is_refused() -> None:
    with pytest.raises(ValueError, match="no section a: add"):
        replace_sections("<!-- a: generated -->\n", {"a": "new"})


def test_peers_have_a_column_each() -> None:
    results = (
        Result("peers.direct.calm.p50", 354, "ms"),
        Result("peers.litellm.calm.p50", None, "ms"),
        Result("peers.ours.faults.paid_twice", 0, "duplicates", "= 0", True),
    )
    run = build_run("peers", *results)

    page = render_peers(run)

    assert find_row(page, "latency, median") == ["0.35 s", "–", "not in the stored run"]
    assert find_row(page, "paid for more than once") == ["not in the stored run"] * 2 + ["0"]
    assert "peers." not in render_targets(run), "they are in tables of their own"


def test_plots_show_sorted_samples_and_growth_by_operation() -> None:
    samples = {"completion_to_succeeded": {"unit": "ms", "values": [3, 1, 2]}, "other": {"values": [1]}}
    results = (Result("growth.100.get.reads", 1, "units"), Result("growth.10000.get.reads", 2, "units"))
    run = build_run("growth", *results, samples=samples)

    assert find_latencies(run) == {"Replicate's completion to succeeded": [1, 2, 3]}
    assert find_growth(run) == {"get": {"reads": {100: 1, 10_000: 2}}}
    assert describe_data(find_growth(run)) != describe_data({})


def test_waterfall_draws_each_hop_with_its_time_and_escapes_texts() -> None:
    hops = [
        {"label": "in our <queue>", "seconds": 0.02, "x": 0.0, "width": 2.0, "kind": "accepted"},
        {"label": "storing files", "seconds": 0.5, "x": 50.0, "width": 50.0, "kind": "harvesting"},
        # A webhook that was sent for longer than the drawing is wide.
        {"label": "webhook", "seconds": 9.0, "x": 10.0, "width": 90.0, "kind": "delivery"},
    ]

    picture = render_waterfall({"title": "a/b", "hops": hops})

    assert "in our &lt;queue&gt;" in picture
    assert '<rect class="harvesting" x="490.0"' in picture
    assert picture.count("500 ms") == 1, "the value of the second hop, between ticks of 200 ms"
    assert [f">{text}</text>" in picture for text in ("0", "200 ms", "800 ms", "1.0 s")] == [True] * 4
