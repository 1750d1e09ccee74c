"""The page of usage, costs and budgets."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from replicate_proxy.budgets.model import BudgetOwner
from replicate_proxy.console.pages.overview import build_budget_rows, build_daily_charts
from replicate_proxy.console.pages.predictions import choose_tenant, list_tenant_names
from replicate_proxy.errors import parameter_error
from replicate_proxy.usage.report import UsageGroup

if TYPE_CHECKING:
    from collections.abc import Sequence

    from replicate_proxy.api.http import Response
    from replicate_proxy.console.page import Page
    from replicate_proxy.console.pages_router import PageRouter
    from replicate_proxy.console.services import ConsoleServices
    from replicate_proxy.usage.report import UsageReport, UsageRow

DAYS = (7, 14, 30)
_MAX_ROWS = 100


def add_usage_page(pages: PageRouter, services: ConsoleServices) -> None:
    """Register the page of usage."""

    @pages.get("/usage")
    def show_usage(page: Page) -> Response:
        viewer, admin = page.signed_in, services.admin
        tenant, days = choose_tenant(page), _parse_days(page)
        today = page.now.date()
        groups = [UsageGroup.MODEL, UsageGroup.KEY]
        if viewer.is_operator:
            groups = [UsageGroup.TENANT, *groups]
        # One read for all tables: grouping the finest rows again costs nothing.
        report = admin.usage.report(
            tenant, today - timedelta(days=days - 1), today, (UsageGroup.DAY, *groups)
        )
        tables = {group.value: _sum_by(report, group) for group in groups}
        if tenant is not None:
            tables.pop(UsageGroup.TENANT.value, None)
        budgets = [] if tenant is None else admin.budgets.list_states(BudgetOwner(tenant))
        return page.render(
            "usage.html",
            tenant=tenant,
            tenants=list_tenant_names(services) if viewer.is_operator else [],
            days=days,
            choices=DAYS,
            total=report.total,
            charts=build_daily_charts(_by_day(report)),
            tables=tables,
            budgets=build_budget_rows(budgets),
        )


def _parse_days(page: Page) -> int:
    text = page.request.query.get("days") or str(DAYS[1])
    if text not in map(str, DAYS):
        raise parameter_error("days", f"must be one of {', '.join(map(str, DAYS))}")
    return int(text)


def _sum_by(report: UsageReport, group: UsageGroup) -> Sequence[tuple[str, Any]]:
    """Return the values of a group with their sums, the dearest first."""
    position = report.group_by.index(group)
    sums: dict[str, Any] = {}
    for row in report.rows:
        name = row.group[position]
        sums[name] = sums[name] + row.counts if name in sums else row.counts
    ranked = sorted(sums.items(), key=lambda item: (-item[1].cost_micro_usd, -item[1].jobs, item[0]))
    return ranked[:_MAX_ROWS]


def _by_day(report: UsageReport) -> UsageReport:
    """Return the report with a row for each day."""
    rows: dict[tuple[str, ...], UsageRow] = {}
    for row in report.rows:
        day = row.group[:1]
        stored = rows.get(day)
        rows[day] = replace(row, group=day, counts=stored.counts + row.counts if stored else row.counts)
    return replace(report, rows=tuple(rows.values()))
