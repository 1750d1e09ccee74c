"""The generated tables of the page about costs."""

from __future__ import annotations

from tools.bench.stored_run import Part, Result, StoredRun
from tools.docs.costs import render_costs, render_growth


def build_run(part: str, *results: Result) -> StoredRun:
    return StoredRun({part: Part("2026-11-26T10:11:12Z", "c0ffee", {}, results, repeats=3)})


def test_charge_is_amount_times_price_for_a_thousand_jobs() -> None:
    run = build_run(
        "costs",
        Result("cost.api", 6, "per job"),
        Result("cost.log_byte", 24_000.5, "per job"),
        Result("cost.per_1000_jobs", 0.0781, "$", "<= 0.08", True),
    )

    page = render_costs(run)

    assert "| API Gateway (REST), requests | 6 | $3.5 per million | $0.0210 |" in page
    assert "| CloudWatch Logs, bytes | 24,000.5 | $0.5 per GB | $0.0120 |" in page
    assert "| **Total** |  |  | **$0.078** |" in page
    assert page.startswith("Measured 3 times on 2026-11-26 10:11 UTC by `make bench PART=costs`.")


def test_charges_that_the_run_does_not_have_are_named() -> None:
    page = render_costs(build_run("costs", Result("cost.api", 6, "per job")))

    assert "Not counted: `lambda`, " in page
    assert "| **Total** |  |  | **not in the stored run** |" in page


def test_tables_without_results_are_a_sentence() -> None:
    assert render_costs(StoredRun()) == "`make bench PART=costs` is not in the stored run."
    assert render_growth(StoredRun()) == "`make bench PART=growth` is not in the stored run."


def test_growth_has_a_column_for_each_number_of_stored_predictions() -> None:
    run = build_run(
        "growth",
        Result("growth.10000.list.requests", 2, "requests"),
        Result("growth.10000.list.reads", 52.5, "units"),
        Result("growth.10000.list.writes", 0, "units"),
        Result("growth.100.list.requests", 2, "requests"),
        Result("growth.100.unheard_of.requests", 1, "requests"),
    )

    page = render_growth(run)

    assert "| request | 100 stored predictions | 10,000 stored predictions |" in page
    assert "| list | 2 requests | 2 requests, 52.5 read units |" in page
    assert "| `unheard_of` | 1 request | none |" in page
