"""The console's overview, with the circuit breaker."""

from __future__ import annotations

import re

import pytest

from tests.support.console import Browser


@pytest.mark.parametrize("name", ["operator", "tenant"])
def test_overview_names_the_days_that_its_charts_show(request: pytest.FixtureRequest, name: str) -> None:
    overview: Browser = request.getfixturevalue(name)
    page = overview.get("")

    charts = re.findall(r'<svg class="chart".*?</svg>', page.html, re.DOTALL)
    assert [chart.count('<g class="column">') for chart in charts] == [7, 7]
    assert page.text.count("in 7 days") == 2


def test_breaker_is_opened_and_closed(operator: Browser) -> None:
    assert operator.post("/breaker/open", {"minutes": "10"}).status == 303
    assert "breaker open" in operator.get().text
    assert operator.post("/breaker/close").status == 303
    assert "breaker closed" in operator.get().text


@pytest.mark.parametrize("minutes", ["nan", "inf", "0", "-1", "1441", "1e308", "x"])
def test_breaker_is_not_opened_for_a_time_that_is_out_of_range(operator: Browser, minutes: str) -> None:
    page = operator.post("/breaker/open", {"minutes": minutes})
    assert page.status == 422
    assert "minutes" in page.text
    assert "breaker closed" in operator.get().text
