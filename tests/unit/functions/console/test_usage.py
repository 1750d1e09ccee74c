"""The console's page of usage and costs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import boto3
import pytest

from replicate_proxy.aws.usage_store import DynamoUsageReports, DynamoUsageStore
from replicate_proxy.bootstrap.environment import clock
from replicate_proxy.console.pages import usage
from replicate_proxy.jobs.model import (
    Cost,
    JobStatus,
    TimelineStep,
)
from replicate_proxy.usage.model import EndedJob, UsageCounts, UsageEntry, UsageKey
from tests.support.aws import USAGE_TABLE
from tests.support.builders import make_job
from tests.support.console import (
    Browser,
)


def test_usage_says_what_tenants_are_billed_for(operator: Browser, tenant: Browser) -> None:
    timeline = {TimelineStep.FINISHED: clock.now()}
    jobs = [
        make_job(JobStatus.SUCCEEDED, model=model, cost=cost, timeline=timeline, replicate_account=account)
        for model, cost, account in [
            ("acme/shared", Cost(micro_usd=2_000_000), ""),
            ("acme/own", Cost(micro_usd=500_000), "acme-at-replicate"),
        ]
    ]
    store = DynamoUsageStore(boto3.client("dynamodb"), USAGE_TABLE)
    store.count([EndedJob.from_job(job) for job in jobs], now=clock.now())

    billed = "$2.50 spent; Replicate bills $0.50 of it to"
    assert f"{billed} accounts of tenants" in operator.get("/usage").text
    assert f"{billed} the account of the tenant" in operator.get("/usage?tenant=acme").text
    assert f"{billed} your account there" in tenant.get("/usage").text


def test_usage_says_how_many_rows_it_leaves_out(operator: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sums at the top count them."""
    monkeypatch.setattr(usage, "_MAX_ROWS", 1)
    today = datetime.now(UTC).date().isoformat()
    entries = [
        UsageEntry(UsageKey(tenant, today, "acme/flux", "key-1"), UsageCounts(succeeded=1))
        for tenant in ("acme", "globex", "initech")
    ]
    monkeypatch.setattr(
        DynamoUsageReports, "list_all_entries", lambda _, day: entries if day == today else []
    )
    page = operator.get("/usage")
    assert f"<b>{len(entries)}</b><span>ended</span>" in page.html
    assert page.text.count("The first 1 of 3 are shown; the API returns all.") == 1


def test_month_of_a_tenant_is_shown_by_day_and_downloaded(
    operator: Browser, tenant: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[tuple[str, str]] = []

    def list_entries(_: object, tenant: str, first: str, last: str) -> list[UsageEntry]:
        read.append((first, last))
        counts = UsageCounts(succeeded=2, cost_micro_usd=1_250_000)
        return [UsageEntry(UsageKey(tenant, last, "acme/flux", "key-1"), counts)]

    monkeypatch.setattr(DynamoUsageReports, "list_entries", list_entries)
    today = datetime.now(UTC).date()
    first = today.replace(day=1)
    before = first - timedelta(days=1)
    page = operator.get("/usage?tenant=acme&days=month")
    assert f"{today} 2 0 $1.25" in page.text
    for browser, path in (
        (operator, "/usage/csv?tenant=acme&days=before"),
        (tenant, "/usage/csv?days=before"),
    ):
        file = browser.get(path)
        assert file.headers["content-type"].startswith("text/csv")
        assert (
            f'filename="usage-acme-{before.replace(day=1)}-{before}.csv"'
            in file.headers["content-disposition"]
        )
        header, row = file.html.splitlines()
        assert header.startswith("day,model,key,predictions,")
        assert row.startswith(f"{before},acme/flux,key-1,2,2,0,0,1.250000,")
    months = [(f"{first}", f"{today}"), *[(f"{before.replace(day=1)}", f"{before}")] * 2]
    assert read == months
    assert tenant.get("/usage/csv?tenant=globex").status == 404
    assert "must be one of 7, 14, 30, month, before" in operator.get("/usage?days=9").text


def test_unknown_costs_are_said_beside_each_sum(operator: Browser) -> None:
    """A model without a price is not free."""
    timeline = {TimelineStep.FINISHED: clock.now()}
    jobs = [
        make_job(
            JobStatus.SUCCEEDED, id=f"{number}" * 26, model="acme/unpriced", cost=cost, timeline=timeline
        )
        for number, cost in enumerate((None, None, Cost(micro_usd=1_500_000)))
    ]
    store = DynamoUsageStore(boto3.client("dynamodb"), USAGE_TABLE)
    store.count([EndedJob.from_job(job) for job in jobs], now=clock.now())
    usage_page, overview = operator.get("/usage"), operator.get()
    for name in ("acme/unpriced", "acme", clock.now().date().isoformat()):
        assert f"{name} 3 0 $1.50 + 2 unknown" in usage_page.text
    assert "acme 3 0 $1.50 + 2 unknown" in overview.text
    assert "$1.50 spent today, without 2 of unknown cost" in overview.text


def test_usage_keeps_a_tenant_without_keys_or_settings(operator: Browser) -> None:
    """Tenants of JWTs have neither: the form would show the usage of all the next time."""
    page = operator.get("/usage?tenant=by-token&days=30")
    assert "<option selected>by-token</option>" in page.html
