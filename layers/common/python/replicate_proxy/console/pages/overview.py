"""The first page: what needs attention, how much is going on, and what it costs."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from replicate_proxy.budgets.model import BudgetOwner
from replicate_proxy.console.charts import build_chart
from replicate_proxy.console.formatting import format_money, format_number
from replicate_proxy.console.job_views import WAIT_TEXTS, build_job_rows
from replicate_proxy.console.reads import read_parts, read_together
from replicate_proxy.parallel import map_in_parallel
from replicate_proxy.pauses.pause import ALL_TENANTS, PausedActivity
from replicate_proxy.usage.model import UsageCounts
from replicate_proxy.usage.report import UsageGroup

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date

    from replicate_proxy.api.http import Response
    from replicate_proxy.budgets.model import BudgetState
    from replicate_proxy.console.charts import Chart
    from replicate_proxy.console.page import Page
    from replicate_proxy.console.pages_router import PageRouter
    from replicate_proxy.console.services import ConsoleServices
    from replicate_proxy.operations.queues import QueuePair
    from replicate_proxy.operations.replicate_status import ReplicateStatus
    from replicate_proxy.pauses.pause import Pause, Pauses
    from replicate_proxy.usage.report import UsageReport

_CHART_DAYS = 7
_MAX_OVERDUE = 20
_RECENT_JOBS = 100
_SHOWN_JOBS = 8
_MAX_TENANTS_WITH_BUDGET = 40
_WARNING_PERCENT = 80
_ALL_PERCENT = 100
_MIN_TRIP_MINUTES, _MAX_TRIP_MINUTES = 0.1, 24 * 60


def add_overview_page(pages: PageRouter, services: ConsoleServices) -> None:
    """Register the first page, and the control of the circuit breaker that it has."""
    admin = services.admin

    @pages.get("")
    def show_overview(page: Page) -> Response:
        if page.signed_in_viewer.tenant is None:
            return _show_for_operator(page, services)
        return _show_for_tenant(page, services, page.signed_in_viewer.tenant)

    @pages.post("/breaker/open", operator=True)
    def open_breaker(page: Page) -> Response:
        minutes = page.form.get_number("minutes", minimum=_MIN_TRIP_MINUTES, maximum=_MAX_TRIP_MINUTES)
        admin.breaker.trip(seconds=None if minutes is None else minutes * 60)
        return page.redirect("", notice="breaker_open")

    @pages.post("/breaker/close", operator=True)
    def close_breaker(page: Page) -> Response:
        admin.breaker.reset()
        return page.redirect("", notice="breaker_closed")

    @pages.post("/webhook-secret/refresh", operator=True)
    def refresh_webhook_secret(page: Page) -> Response:
        admin.webhook_secret.refresh()
        return page.redirect("", notice="refreshed")


def read_pauses(services: ConsoleServices) -> dict[str, Pauses]:
    """Return all pauses by activity."""
    activities = list(PausedActivity)
    found = map_in_parallel(services.admin.pauses.read, activities)
    return {activity.value: pauses for activity, pauses in zip(activities, found, strict=True)}


def select_pauses(pauses: Mapping[str, Pauses] | None, *names: str) -> dict[str, Pause | None]:
    """Return by activity the pause of the first of the names that has one."""
    return {
        activity.value: next(
            (found[name] for name in names if name in (found := (pauses or {}).get(activity.value, {}))), None
        )
        for activity in PausedActivity
    }


def build_budget_rows(states: Sequence[BudgetState]) -> list[dict[str, Any]]:
    """Return what is used of each budget, the fullest first."""
    rows = []
    for state in sorted(states, key=_calculate_use, reverse=True):
        percent = _calculate_use(state)
        rows.append(
            {
                "tenant": state.window.owner.tenant,
                "key_id": state.window.owner.key_id,
                "period": state.window.period.value,
                "limit": state.limit_micro_usd,
                "spent": state.spent_micro_usd,
                "committed": state.committed_micro_usd,
                # Rounded down: 100 % says that nothing is left.
                "percent": int(percent),
                "width": min(percent, _ALL_PERCENT),
                "kind": _describe_use(percent),
                "resets_at": state.window.resets_at,
            }
        )
    return rows


def build_daily_charts(report: UsageReport) -> dict[str, Chart]:
    """Return the charts of ended predictions and of costs, a bar for each day of the report."""
    by_day = {row.group[0]: row.counts for row in report.rows}
    days = _list_days(report.first_day, report.last_day)
    counts = [(day, by_day.get(day, UsageCounts())) for day in days]
    return {
        "jobs": build_chart(
            [
                (day, count.jobs, f"{format_number(count.jobs)}, {count.failed} failed")
                for day, count in counts
            ],
            format_maximum=format_number,
        ),
        "costs": build_chart(
            [(day, count.cost_micro_usd, format_money(count.cost_micro_usd)) for day, count in counts]
        ),
    }


def _show_for_operator(page: Page, services: ConsoleServices) -> Response:
    admin, today = services.admin, page.now.date()
    first = today - timedelta(days=_CHART_DAYS - 1)
    read = read_parts(
        queues=admin.queues.read,
        replicate=admin.replicate.read,
        pauses=lambda: read_pauses(services),
        report=lambda: admin.usage.report(None, first, today, (UsageGroup.DAY, UsageGroup.TENANT)),
        unfinished=lambda: admin.job_search.summarize_unfinished(max_overdue=_MAX_OVERDUE),
        budgets=lambda: _read_budgets(services),
    )
    report: UsageReport | None = read.pop("report")
    replicate: ReplicateStatus | None = read["replicate"]
    usage = report.regroup(UsageGroup.DAY) if report else None
    return page.render(
        "overview_operator.html",
        **read,
        breaker=replicate.accounts[0].breaker if replicate else None,
        usage=usage,
        charts=build_daily_charts(usage) if usage else None,
        tenants=_select_day(report, today) if report else [],
        dead=_list_dead_letters(read["queues"]),
        all_pauses=select_pauses(read["pauses"], ALL_TENANTS),
        pause_count=sum(map(len, read["pauses"].values())) if read["pauses"] is not None else None,
    )


def _select_day(report: UsageReport, day: date) -> list[tuple[str, UsageCounts]]:
    """Return what each tenant used on a day of a report by day and tenant, the dearest first."""
    found = [(row.group[1], row.counts) for row in report.rows if row.group[0] == day.isoformat()]
    return sorted(found, key=lambda each: -each[1].cost_micro_usd)


def _list_dead_letters(queues: Mapping[str, QueuePair] | None) -> list[dict[str, Any]] | None:
    """Return the number of dead letters of each queue, None if the queues cannot be read."""
    if queues is None:
        return None
    return [{"name": name, "count": pair.dead_letters.depth.total} for name, pair in queues.items()]


def _read_budgets(services: ConsoleServices) -> dict[str, Any]:
    """Return the budgets of as many tenants as a page has time for, and how many could have one."""

    def read(tenant: str) -> list[BudgetState]:
        return services.admin.budgets.list_states(BudgetOwner(tenant))

    names = _list_tenants_with_budget(services)
    found = read_parts(**{name: lambda name=name: read(name) for name in names[:_MAX_TENANTS_WITH_BUDGET]})
    rows = build_budget_rows([state for states in found.values() for state in states or []])
    return {"rows": rows, "read": len(found), "tenants": len(names)}


def _list_tenants_with_budget(services: ConsoleServices) -> list[str]:
    """Return the tenants whose keys say that they have a budget, then those without keys, which may have one.

    Only requests with JWTs count against the budget of a tenant without keys.
    """
    read = read_together(tenants=services.admin.tenants.list, keys=services.admin.keys.list)
    keys = [key for key in read["keys"] if key.revoked_at is None]
    marked = {key.tenant for key in keys if key.has_budget}
    keyless = {tenant.name for tenant in read["tenants"]} - {key.tenant for key in keys}
    return [*sorted(marked), *sorted(keyless)]


def _show_for_tenant(page: Page, services: ConsoleServices, tenant: str) -> Response:
    admin, today = services.admin, page.now.date()
    first = today - timedelta(days=_CHART_DAYS - 1)
    read = read_parts(
        jobs=lambda: services.jobs.list_jobs(tenant, before_id=None, min_id=None, limit=_RECENT_JOBS).jobs,
        pauses=lambda: read_pauses(services),
        usage=lambda: admin.usage.report(tenant, first, today, (UsageGroup.DAY,)),
        budgets=lambda: build_budget_rows(admin.budgets.list_states(BudgetOwner(tenant))),
        endpoints=lambda: services.endpoints.list_all(tenant),
        queue=lambda: services.queue_status.read(tenant),
    )
    jobs = read["jobs"]
    return page.render(
        "overview_tenant.html",
        tenant=tenant,
        usage=read["usage"],
        charts=build_daily_charts(read["usage"]) if read["usage"] else None,
        budgets=read["budgets"] or [],
        pauses=select_pauses(read["pauses"], tenant, ALL_TENANTS),
        queue=read["queue"],
        wait_texts=WAIT_TEXTS,
        disabled=[endpoint for endpoint in read["endpoints"] or () if not endpoint.is_enabled],
        counts=None if jobs is None else Counter(job.status.value for job in jobs),
        rows=build_job_rows((jobs or ())[:_SHOWN_JOBS], services.renderer, services.images_url, page.now),
    )


def _calculate_use(state: BudgetState) -> float:
    """Return how many percent of the limit are spent or reserved; a limit of 0 is used up."""
    limit = state.limit_micro_usd
    return state.committed_micro_usd * _ALL_PERCENT / limit if limit else _ALL_PERCENT


def _describe_use(percent: float) -> str:
    if percent >= _ALL_PERCENT:
        return "bad"
    return "trouble" if percent >= _WARNING_PERCENT else "good"


def _list_days(first: date, last: date) -> list[str]:
    return [(first + timedelta(days=index)).isoformat() for index in range((last - first).days + 1)]
