"""The page of concurrency limits: what they hold, and the limits of tenants."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from replicate_proxy.api.admin.bodies import PutConcurrencyBody
from replicate_proxy.api.validation import parse_body
from replicate_proxy.auth.tenants import TENANT_NAME_RULE, is_tenant_name
from replicate_proxy.concurrency.model import parse_model, parse_tenant
from replicate_proxy.console.reads import read_together
from replicate_proxy.errors import UnknownNameError, field_error

if TYPE_CHECKING:
    from replicate_proxy.api.http import Response
    from replicate_proxy.console.page import Page
    from replicate_proxy.console.pages_router import PageRouter
    from replicate_proxy.console.services import ConsoleServices
    from replicate_proxy.operations.concurrency import LimitState

_SHOWN_JOBS = 5


def add_concurrency_page(pages: PageRouter, services: ConsoleServices) -> None:
    """Register the page of concurrency limits, for operators only."""
    concurrency = services.admin.concurrency

    @pages.get("/concurrency", operator=True)
    def show_limits(page: Page) -> Response:
        return _show(page, services)

    @pages.post("/concurrency", operator=True)
    def put_limit(page: Page) -> Response:
        def change() -> Response:
            tenant = _read_tenant(page)
            fields = page.form.get_optional(max_concurrency=int)
            concurrency.put(tenant, parse_body(PutConcurrencyBody, fields).max_concurrency)
            return page.redirect(_choose_next(page, tenant), notice="saved")

        return page.attempt(change, lambda problem: _show(page, services, problem=problem))

    @pages.post("/concurrency/remove", operator=True)
    def remove_limit(page: Page) -> Response:
        def change() -> Response:
            tenant = _read_tenant(page)
            concurrency.delete(tenant)
            return page.redirect(_choose_next(page, tenant), notice="deleted")

        return page.attempt(change, lambda problem: _show(page, services, problem=problem))


def build_limit_row(state: LimitState) -> dict[str, Any]:
    """Return the limit with what it is for, and how much of it is used."""
    maximum = state.max_concurrency
    percent = 100 * state.in_use / maximum if maximum else 0
    return {
        "tenant": parse_tenant(state.name),
        "model": parse_model(state.name),
        "max": maximum,
        "in_use": state.in_use,
        "waiting": state.waiting,
        "percent": round(percent),
        "width": min(percent, 100),
    }


def find_limit(services: ConsoleServices, tenant: str) -> dict[str, Any] | None:
    """Return the limit of a tenant, None without one."""
    try:
        return build_limit_row(services.admin.concurrency.get(tenant))
    except UnknownNameError:
        return None


def _show(page: Page, services: ConsoleServices, *, problem: dict[str, Any] | None = None) -> Response:
    concurrency = services.admin.concurrency
    rows = []
    read = read_together(states=lambda: _list_states(services), own=concurrency.read_own)
    for state in read["states"]:
        held = concurrency.list_held(state.name, count=_SHOWN_JOBS) if state.waiting else []
        rows.append({**build_limit_row(state), "held": held})
    rows.sort(key=lambda row: (-row["waiting"], -row["percent"], row["tenant"] or "", row["model"] or ""))
    return page.render(
        "concurrency.html",
        rows=rows,
        own=read["own"],
        form=page.form if problem else None,
        problem=problem,
    )


def _list_states(services: ConsoleServices) -> list[LimitState]:
    entries = services.admin.model_entries.read().entries.values()
    models = [entry.name for entry in entries if entry.max_concurrency is not None]
    return services.admin.concurrency.list_all(models)


def _read_tenant(page: Page) -> str:
    tenant = page.form.get("tenant")
    if not is_tenant_name(tenant):
        raise field_error("tenant", TENANT_NAME_RULE)
    return tenant


def _choose_next(page: Page, tenant: str) -> str:
    return f"/tenants/{tenant}" if page.form.get("back") == "tenant" else "/concurrency"
