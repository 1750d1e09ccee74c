"""Pages of tenants: their settings, keys, budget and pause."""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from replicate_proxy.api.admin.bodies import (
    CreateKeyBody,
    PauseBody,
    PutBudgetBody,
    PutReplicateTokenBody,
    PutTenantBody,
    ResumeBody,
    RotateKeyBody,
)
from replicate_proxy.api.admin.erasures import build_erasure_view
from replicate_proxy.api.admin.stage import get_stage
from replicate_proxy.api.validation import parse_body
from replicate_proxy.auth.keys import MAX_ROTATION_OVERLAP, KeyStatus
from replicate_proxy.auth.principal import Scope
from replicate_proxy.auth.tenants import TENANT_NAME_RULE, ImageDefaults, Tenant, is_tenant_name
from replicate_proxy.budgets.model import BudgetOwner
from replicate_proxy.console.page import Form
from replicate_proxy.console.pages.concurrency import find_limit
from replicate_proxy.console.pages.overview import build_budget_rows, read_pauses, select_pauses
from replicate_proxy.console.reads import read_together
from replicate_proxy.errors import ApiError, NotFoundError, UnknownNameError, field_error
from replicate_proxy.jobs.model import Account
from replicate_proxy.operations.keys import describe_key
from replicate_proxy.operations.tenants import describe_tenant
from replicate_proxy.pauses.pause import ALL_TENANTS, PausedActivity

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from replicate_proxy.api.http import Response
    from replicate_proxy.auth.keys import ApiKey
    from replicate_proxy.budgets.model import BudgetLimits, BudgetState
    from replicate_proxy.console.page import Page
    from replicate_proxy.console.pages_router import PageRouter
    from replicate_proxy.console.services import ConsoleServices
    from replicate_proxy.pauses.pause import Pauses

_TENANT = "/tenants/{name}"
_KEY = "/keys/{id}"
_MAX_OVERLAP_HOURS = MAX_ROTATION_OVERLAP / timedelta(hours=1)
_PAUSE_TITLES = {"predictions": "predictions", "deliveries": "webhooks"}


def add_tenant_pages(pages: PageRouter, services: ConsoleServices) -> None:
    """Register the pages of tenants and keys, for operators only."""
    _add_reads(pages, services)
    _add_settings(pages, services)
    _add_pauses(pages, services)
    _add_account(pages, services)
    _add_key_changes(pages, services)
    _add_erasure(pages, services)


def _add_reads(pages: PageRouter, services: ConsoleServices) -> None:
    @pages.get("/tenants", operator=True)
    def list_tenants(page: Page) -> Response:
        read = read_together(
            tenants=services.admin.tenants.list,
            keys=services.admin.keys.list,
            pauses=lambda: read_pauses(services),
        )
        pauses = read["pauses"]
        rows = build_tenant_rows(read["tenants"], read["keys"], pauses, page.now)
        return page.render("tenants.html", rows=rows, all_pauses=select_pauses(pauses, ALL_TENANTS))

    @pages.get("/open-tenant", operator=True)
    def open_tenant(page: Page) -> Response:
        name = page.request.query.get("name", "").strip()
        if not is_tenant_name(name):
            raise field_error("name", TENANT_NAME_RULE)
        return page.redirect(f"/tenants/{name}")

    @pages.get(_TENANT, operator=True)
    def show_tenant(page: Page) -> Response:
        return _show_tenant(page, services, _name(page))


def build_tenant_rows(
    tenants: Sequence[Tenant], keys: Sequence[ApiKey], pauses: Mapping[str, Pauses], now: datetime
) -> list[dict[str, Any]]:
    """Return what the list says about each tenant that has settings or a key, by name."""
    display_names = {tenant.name: tenant.display_name for tenant in tenants}
    # Grouped at first: there may be thousands of both.
    keys_by_tenant: defaultdict[str, list[ApiKey]] = defaultdict(list)
    for key in keys:
        keys_by_tenant[key.tenant].append(key)
    return [
        {
            "name": name,
            "display_name": display_names.get(name, ""),
            "keys": sum(key.get_status(now) is KeyStatus.VALID for key in keys_by_tenant[name]),
            "last_used_at": max(
                (key.last_used_at for key in keys_by_tenant[name] if key.last_used_at), default=None
            ),
            "paused": [_PAUSE_TITLES[activity] for activity, paused in pauses.items() if name in paused],
        }
        for name in sorted({*display_names, *keys_by_tenant})
    ]


def _add_settings(pages: PageRouter, services: ConsoleServices) -> None:
    @pages.post(f"{_TENANT}/settings", operator=True)
    def put_settings(page: Page) -> Response:
        name = _name(page)

        def change() -> Response:
            images = page.form.get_optional(format=str, quality=int)
            body = parse_body(
                PutTenantBody,
                {
                    "display_name": page.form.get("display_name"),
                    "images": images,
                    "retention": page.form.get("retention") or None,
                },
            )
            stored = _find_settings(services, name)
            _require_shown(page, "Settings", "revision", _get_revision(stored))
            services.admin.tenants.put(
                name,
                display_name=body.display_name,
                images=ImageDefaults(body.images.format, body.images.quality),
                private_outputs=bool(page.form.get("private_outputs")),
                # The form does not have them.
                token_limits=stored.token_limits if stored else None,
                retention=body.retention,
                stage=get_stage(page.request),
            )
            return page.redirect(f"/tenants/{name}", notice="saved")

        return _attempt(page, services, name, change)

    @pages.post(f"{_TENANT}/budget", operator=True)
    def put_budget(page: Page) -> Response:
        name = _name(page)

        def change() -> Response:
            limits = page.form.get_optional(day_usd=str, month_usd=str)
            owner, stage = BudgetOwner(name), get_stage(page.request)
            stored, _ = _find_budget(services, name)
            _require_shown(page, "The limits", "shown_limits", _describe_limits(stored))
            if limits:
                services.admin.budgets.put(owner, parse_body(PutBudgetBody, limits).to_limits(), stage)
            else:
                services.admin.budgets.delete(owner, stage)
            return page.redirect(f"/tenants/{name}", notice="saved")

        return _attempt(page, services, name, change)


def _require_shown(page: Page, what: str, field: str, stored: str) -> None:
    """Raise a 409 ApiError if the form was filled with something else than what is stored.

    It sends all fields: a page that was opened before outputs became private would make them public again,
    and one that was opened before a limit was set would remove the limit.
    """
    if page.form.get(field, stored) != stored:
        raise ApiError(
            409,
            f"{what} have changed",
            "They were changed since this page was opened. Look at them, and change them again",
        )


def _get_revision(tenant: Tenant | None) -> str:
    return str(tenant.revision) if tenant is not None else "none"


def _describe_limits(limits: BudgetLimits | None) -> str:
    """Return the limits as a form sends them back."""
    return f"{limits.day_micro_usd}, {limits.month_micro_usd}" if limits is not None else "none"


def _add_pauses(pages: PageRouter, services: ConsoleServices) -> None:
    @pages.post("/pause", operator=True)
    def pause(page: Page) -> Response:
        body = parse_body(
            PauseBody,
            {
                "activity": page.form.get("activity") or PausedActivity.PREDICTIONS.value,
                "tenant": page.form.get("tenant") or None,
                "mode": page.form.get("mode") or None,
                "reason": page.form.get("reason"),
            },
        )
        services.admin.pauses.pause(body.activity, body.tenant, body.pause_mode, body.reason)
        return page.redirect(_choose_next(page, body.tenant), notice=f"{body.activity.value}_paused")

    @pages.post("/resume", operator=True)
    def resume(page: Page) -> Response:
        fields = {
            "activity": page.form.get("activity") or PausedActivity.PREDICTIONS.value,
            "tenant": page.form.get("tenant") or None,
        }
        body = parse_body(ResumeBody, fields)
        services.admin.pauses.resume(body.activity, body.tenant)
        return page.redirect(_choose_next(page, body.tenant), notice=f"{body.activity.value}_resumed")


def _choose_next(page: Page, tenant: str | None) -> str:
    """Return the page from which a pause was changed."""
    if page.form.get("back") == "overview":
        return ""
    return f"/tenants/{tenant}" if tenant else "/tenants"


def _add_key_changes(pages: PageRouter, services: ConsoleServices) -> None:
    keys = services.admin.keys

    @pages.post(f"{_TENANT}/keys", operator=True)
    def create_key(page: Page) -> Response:
        name = _name(page)

        def change() -> Response:
            body = parse_body(
                CreateKeyBody,
                {
                    "tenant": name,
                    "name": page.form.get("name"),
                    "scopes": page.form.get_all("scopes"),
                    "allowed_ips": page.form.get_lines("allowed_ips"),
                    "allowed_models": page.form.get_lines("allowed_models"),
                },
            )
            key, secret = keys.create(body, get_stage(page.request))
            return _show_secret(page, key, str(secret), "created")

        return _attempt(page, services, name, change)

    @pages.post(f"{_KEY}/rotate", operator=True)
    def rotate_key(page: Page) -> Response:
        hours = page.form.get_number("hours", minimum=0, maximum=_MAX_OVERLAP_HOURS)
        if hours is None:  # Without one, the secret of a key that leaked would stay valid for a day.
            raise field_error("hours", "is required; with 0, the old secret ends at once")
        body = parse_body(RotateKeyBody, {"overlap_seconds": round(hours * 3600)})
        key, secret = keys.rotate(
            page.request.path_params["id"],
            timedelta(seconds=body.overlap_seconds),
            get_stage(page.request),
        )
        return _show_secret(page, key, str(secret), "rotated")

    @pages.post(f"{_KEY}/revoke", operator=True)
    def revoke_key(page: Page) -> Response:
        key, _ = keys.revoke(page.request.path_params["id"], get_stage(page.request))
        return page.redirect(f"/tenants/{key.tenant}", notice="revoked")


def _add_erasure(pages: PageRouter, services: ConsoleServices) -> None:
    erasures = services.admin.erasures

    @pages.post(f"{_TENANT}/erase", operator=True)
    def erase_tenant(page: Page) -> Response:
        name = _name(page)

        def erase() -> Response:
            erasures.start(name, page.form.get("confirm"), get_stage(page.request))
            return page.redirect(f"/tenants/{name}/erasure")

        return _attempt(page, services, name, erase)

    @pages.get(f"{_TENANT}/erasure", operator=True)
    def show_erasure(page: Page) -> Response:
        erasure = build_erasure_view(erasures.get(_name(page)))
        return page.render("erasure.html", erasure=erasure)


def _attempt(page: Page, services: ConsoleServices, name: str, change: Callable[[], Response]) -> Response:
    return page.attempt(change, lambda problem: _show_tenant(page, services, name, problem=problem))


def _show_tenant(
    page: Page, services: ConsoleServices, name: str, *, problem: dict[str, Any] | None = None
) -> Response:
    admin = services.admin
    read = read_together(
        settings=lambda: _find_settings(services, name),
        pauses=lambda: read_pauses(services),
        keys=lambda: admin.keys.list(tenant=name),
        budget=lambda: _find_budget(services, name),
        limit=lambda: find_limit(services, name),
        own_limits=admin.concurrency.read_own,
        account=lambda: _read_account(services, name),
        erasure=lambda: admin.erasures.find(name),
    )
    settings, pauses = read["settings"], read["pauses"]
    limits, states = read["budget"]
    return page.render(
        "tenant.html",
        name=name,
        settings=describe_tenant(settings or Tenant(name)),
        revision=_get_revision(settings),
        # What is invalid can be corrected. After a conflict, the settings are those that are stored.
        typed=page.form if problem and problem["status"] == HTTPStatus.UNPROCESSABLE_ENTITY else Form({}),
        has_settings=settings is not None,
        keys=[{**describe_key(key), "status": key.get_status(page.now).value} for key in read["keys"]],
        limits=limits,
        shown_limits=_describe_limits(limits),
        budgets=build_budget_rows(states),
        pauses=select_pauses(pauses, name),
        all_pauses=select_pauses(pauses, ALL_TENANTS),
        limit=read["limit"],
        has_own_limit=name in read["own_limits"],
        account=read["account"],
        erasure=build_erasure_view(read["erasure"]) if read["erasure"] else None,
        scopes=[scope.value for scope in Scope],
        problem=problem,
    )


def _add_account(pages: PageRouter, services: ConsoleServices) -> None:
    accounts = services.admin.accounts

    @pages.post(f"{_TENANT}/replicate-token", operator=True)
    def put_token(page: Page) -> Response:
        name = _name(page)

        def change() -> Response:
            accounts.put(name, parse_body(PutReplicateTokenBody, {"token": page.form.get("token")}).token)
            return page.redirect(f"/tenants/{name}", notice="account_saved")

        return _attempt(page, services, name, change)

    @pages.post(f"{_TENANT}/replicate-token/remove", operator=True)
    def remove_token(page: Page) -> Response:
        name = _name(page)
        accounts.delete(name)
        return page.redirect(f"/tenants/{name}", notice="account_removed")


def _read_account(services: ConsoleServices, name: str) -> dict[str, Any]:
    """Return the tenant's account with its state; no token or secret is in it."""
    found = services.admin.accounts.get(name)
    current = found.current
    status = services.admin.replicate.read_account(Account(name, current.name)) if current else None
    return {"current": current, "retired": found.retired, "status": status}


def _show_secret(page: Page, key: ApiKey, secret: str, verb: str) -> Response:
    return page.render("key_secret.html", key=describe_key(key), secret=secret, verb=verb)


def _find_settings(services: ConsoleServices, name: str) -> Tenant | None:
    try:
        return services.admin.tenants.get(name)
    except UnknownNameError:
        return None


def _find_budget(services: ConsoleServices, name: str) -> tuple[BudgetLimits | None, Sequence[BudgetState]]:
    try:
        return services.admin.budgets.get(BudgetOwner(name))
    except UnknownNameError:
        return None, ()


def _name(page: Page) -> str:
    name = page.request.path_params["name"]
    if not is_tenant_name(name):
        raise NotFoundError("no such tenant")
    return name
