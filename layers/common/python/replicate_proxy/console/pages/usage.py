"""The page of usage, costs and budgets."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from replicate_proxy.budgets.model import BudgetOwner
from replicate_proxy.console.pages.overview import build_budget_rows, build_daily_charts
from replicate_proxy.console.pages.predictions import choose_tenant, list_tenants_to_choose
from replicate_proxy.console.reads import read_together
from replicate_proxy.errors import parameter_error
from replicate_proxy.usage.report import UsageGroup

if TYPE_CHECKING:
    from collections.abc import Sequence

    from replicate_proxy.api.http import Response
    from replicate_proxy.console.page import Page
    from replicate_proxy.console.pages_router import PageRouter
    from replicate_proxy.console.services import ConsoleServices
    from replicate_proxy.usage.report import UsageReport

DAYS = (7, 14, 30)
_MAX_ROWS = 100


def add_usage_page(pages: PageRouter, services: ConsoleServices) -> None:
    """Register the page of usage."""

    @pages.get("/usage")
    def show_usage(page: Page) -> Response:
        viewer, admin = page.signed_in_viewer, services.admin
        tenant, days = choose_tenant(page), _parse_days(page)
        today = page.now.date()
        groups = [UsageGroup.MODEL, UsageGroup.KEY]
        if viewer.is_operator:
            groups = [UsageGroup.TENANT, *groups]
        # One read for all tables: grouping the finest rows again costs nothing.
        first = today - timedelta(days=days - 1)
        read = read_together(
            report=lambda: admin.usage.report(tenant, first, today, (UsageGroup.DAY, *groups)),
            budgets=lambda: [] if tenant is None else admin.budgets.list_states(BudgetOwner(tenant)),
            names=lambda: list_tenants_to_choose(page, services),
        )
        report = read["report"]
        tables = {group.value: _sum_by(report, group) for group in groups}
        if tenant is not None:
            tables.pop(UsageGroup.TENANT.value, None)
        return page.render(
            "usage.html",
            tenant=tenant,
            tenants=read["names"],
            days=days,
            choices=DAYS,
            total=report.total,
            charts=build_daily_charts(report.regroup(UsageGroup.DAY)),
            tables=tables,
            budgets=build_budget_rows(read["budgets"]),
        )


def _parse_days(page: Page) -> int:
    text = page.request.query.get("days") or str(DAYS[1])
    if text not in map(str, DAYS):
        raise parameter_error("days", f"must be one of {', '.join(map(str, DAYS))}")
    return int(text)


def _sum_by(report: UsageReport, group: UsageGroup) -> tuple[Sequence[tuple[str, Any]], int]:
    """Return the dearest values of a group with their sums, and how many values there are."""
    sums = [(row.group[0], row.counts) for row in report.regroup(group).rows]
    ranked = sorted(sums, key=lambda item: (-item[1].cost_micro_usd, -item[1].jobs, item[0]))
    return ranked[:_MAX_ROWS], len(ranked)
