"""The page of usage, costs and budgets."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from replicate_proxy.api.usage import build_usage_response
from replicate_proxy.budgets.model import BudgetOwner
from replicate_proxy.console.pages.overview import build_budget_rows, build_daily_charts
from replicate_proxy.console.pages.predictions import choose_tenant, list_tenants_to_choose
from replicate_proxy.console.reads import read_together
from replicate_proxy.console.responses import download_response
from replicate_proxy.errors import parameter_error
from replicate_proxy.usage.report import UsageGroup

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

    from replicate_proxy.api.http import Response
    from replicate_proxy.console.page import Page
    from replicate_proxy.console.pages_router import PageRouter
    from replicate_proxy.console.services import ConsoleServices
    from replicate_proxy.usage.report import UsageReport

DAYS = (7, 14, 30)
_PERIODS = {
    **{str(days): f"last {days} days" for days in DAYS},
    "month": "this month",
    "before": "last month",
}
_MAX_ROWS = 100
_DETAILS = (UsageGroup.MODEL, UsageGroup.KEY)


def add_usage_page(pages: PageRouter, services: ConsoleServices) -> None:
    """Register the page of usage, and its file for spreadsheets."""
    admin = services.admin

    @pages.get("/usage")
    def show_usage(page: Page) -> Response:
        tenant = choose_tenant(page)
        read = read_together(
            # One read for all tables: grouping the finest rows again costs nothing.
            report=lambda: _read_report(page, services, tenant),
            budgets=lambda: [] if tenant is None else admin.budgets.list_states(BudgetOwner(tenant)),
            names=lambda: list_tenants_to_choose(page, services),
        )
        report: UsageReport = read["report"]
        by_day = report.regroup(UsageGroup.DAY)
        tables = {group.value: _sum_by(report, group) for group in report.group_by[1:]}
        days = [(row.group[0], row.counts) for row in reversed(by_day.rows)]
        return page.render(
            "usage.html",
            tenant=tenant,
            tenants=read["names"],
            period=_get_period(page),
            periods=_PERIODS,
            report=report,
            total=report.total,
            charts=build_daily_charts(by_day),
            tables={**tables, UsageGroup.DAY.value: (days, len(days))},
            budgets=build_budget_rows(read["budgets"]),
        )

    @pages.get("/usage/csv")
    def get_usage_file(page: Page) -> Response:
        tenant = choose_tenant(page)
        report = _read_report(page, services, tenant)
        name = "-".join(("usage", tenant or "all", str(report.first_day), str(report.last_day)))
        return download_response(build_usage_response(report, "csv"), f"{name}.csv")


def _read_report(page: Page, services: ConsoleServices, tenant: str | None) -> UsageReport:
    """Return the report of the chosen period, in the finest groups."""
    first, last = _find_days(_get_period(page), page.now.date())
    tenants = () if tenant is not None else (UsageGroup.TENANT,)
    return services.admin.usage.report(tenant, first, last, (UsageGroup.DAY, *tenants, *_DETAILS))


def _get_period(page: Page) -> str:
    text = page.request.query.get("days") or str(DAYS[1])
    if text not in _PERIODS:
        raise parameter_error("days", f"must be one of {', '.join(_PERIODS)}")
    return text


def _find_days(period: str, today: date) -> tuple[date, date]:
    """Return the first and the last day of a period (UTC). A month has at most as many as can be read."""
    if period == "month":
        return today.replace(day=1), today
    if period == "before":
        last = today.replace(day=1) - timedelta(days=1)
        return last.replace(day=1), last
    return today - timedelta(days=int(period) - 1), today


def _sum_by(report: UsageReport, group: UsageGroup) -> tuple[Sequence[tuple[str, Any]], int]:
    """Return the dearest values of a group with their sums, and how many values there are."""
    sums = [(row.group[0], row.counts) for row in report.regroup(group).rows]
    ranked = sorted(sums, key=lambda item: (-item[1].cost_micro_usd, -item[1].jobs, item[0]))
    return ranked[:_MAX_ROWS], len(ranked)
