"""The console's overview, with the circuit breaker."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest

from replicate_proxy.aws.job_store import DynamoJobStore
from replicate_proxy.console.pages import overview
from replicate_proxy.errors import RetryableError
from replicate_proxy.jobs.model import SHARED_ACCOUNT, Account
from replicate_proxy.operations.job_search import JobSearch
from replicate_proxy.operations.queues import QueueMonitor
from replicate_proxy.operations.replicate_status import (
    AccountStatus,
    ReplicateStatus,
    ReplicateStatusService,
    TokenCheck,
    TokenState,
)
from replicate_proxy.operations.tenants import TenantService
from replicate_proxy.usage.report import UsageReader
from tests.support.console import (
    Browser,
    Page,
    store_key,
)


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


@pytest.mark.parametrize(
    ("state", "text"),
    [
        (TokenState.REJECTED, "Replicate rejects the token of the shared account"),
        (TokenState.MISSING, "There is no token of the shared account"),
    ],
)
def test_overview_begins_with_a_token_that_is_of_no_use(
    operator: Browser, monkeypatch: pytest.MonkeyPatch, state: TokenState, text: str
) -> None:
    """All other numbers look well then: the circuit breaker stays closed, and no job is overdue."""
    check = TokenCheck(state, datetime.now(UTC))
    monkeypatch.setattr(ReplicateStatusService, "_check_token", lambda *_: check)

    shown = operator.get("").text

    assert text in shown
    assert shown.index(text) < shown.index("Overdue jobs")


def test_overview_names_some_of_many_tenants_with_a_bad_token(
    operator: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = TokenCheck(TokenState.REJECTED, datetime.now(UTC))
    accounts = [
        AccountStatus(Account(name, "own") if name else SHARED_ACCOUNT, None, None, None, check, None)
        for name in ("", *(f"tenant-{number}" for number in range(7)))
    ]
    status = ReplicateStatus(tuple(accounts), is_complete=True, last_failed=())
    monkeypatch.setattr(ReplicateStatusService, "read", lambda _: status)

    shown = operator.get("").text

    assert shown.count("Replicate rejects the token of the shared account") == 1
    assert "tenant-3 , tenant-4 and 2 more : predictions of these tenants wait" in shown


def read_stats(page: Page) -> dict[str, str]:
    """Return the numbers at the top of the page by their names."""
    found = re.findall(r'class="stat[^"]*"[^>]*><b>([^<]*)</b><span>([^<]*)</span>', page.html)
    return {name: number for number, name in found}


def fail_to_read(*_: object, **__: object) -> None:
    raise RetryableError("the table does not answer")


def test_overview_says_what_cannot_be_read(operator: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    """A zero would say that nothing is stuck."""
    unread = ("overdue jobs", "dead letters", "ended today", "failed today", "spent today")
    assert all(read_stats(operator.get(""))[name] in {"0", "$0"} for name in unread)
    monkeypatch.setattr(QueueMonitor, "read", fail_to_read)
    monkeypatch.setattr(JobSearch, "summarize_unfinished", fail_to_read)
    monkeypatch.setattr(UsageReader, "report", fail_to_read)
    monkeypatch.setattr(TenantService, "list", fail_to_read)

    page = operator.get("")

    assert page.status == 200
    assert {read_stats(page)[name] for name in unread} == {"?"}
    for part in ("Queues", "Jobs", "Usage", "Budgets"):
        assert f"{part} cannot be read" in page.text
    for text in ("No dead letters", "No budgets", "Nothing has ended today", "No job is overdue"):
        assert text not in page.text


def test_overview_of_a_tenant_says_that_predictions_cannot_be_read(
    tenant: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DynamoJobStore, "list_jobs", fail_to_read)
    page = tenant.get("")
    assert page.status == 200
    assert "Predictions cannot be read" in page.text
    assert "succeeded" not in read_stats(page)


def test_overview_shows_the_budget_of_a_tenant_among_many(
    operator: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(50):
        store_key(tenant=f"customer-{number:02}", name="backend")
    operator.post("/tenants/customer-49/budget", {"day_usd": "5", "month_usd": ""})
    page = operator.get("")
    assert "customer-49 day" in page.text
    assert "tenants among" not in page.text
    # One without keys, whose requests can come with JWTs.
    operator.post("/tenants/by-token/settings", {"display_name": "By token"})
    operator.post("/tenants/by-token/budget", {"day_usd": "6"})
    assert "by-token day" in operator.get("").text
    monkeypatch.setattr(overview, "_MAX_TENANTS_WITH_BUDGET", 1)
    assert "Of 1 tenants among 2; the others are on their own pages." in operator.get("").text
