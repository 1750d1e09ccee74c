"""Routes of the budgets of tenants and keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from replicate_proxy.api.admin.bodies import PutBudgetBody
from replicate_proxy.api.admin.stage import get_stage
from replicate_proxy.api.admin.tenant_names import parse_tenant_name
from replicate_proxy.api.http import json_response
from replicate_proxy.api.validation import parse_body
from replicate_proxy.auth.principal import Scope
from replicate_proxy.budgets.gate import build_state_view
from replicate_proxy.budgets.model import BudgetOwner, BudgetPeriod
from replicate_proxy.costs.money import format_usd

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicate_proxy.api.http import Request, Response
    from replicate_proxy.api.routing import Router
    from replicate_proxy.operations.budgets import BudgetService


def add_budget_routes(router: Router, budgets: BudgetService) -> None:
    """Register the routes of the budget of a tenant, and of a key."""

    def find_key(request: Request) -> BudgetOwner:
        return budgets.find_owner_of_key(request.path_params["id"])

    def find_tenant(request: Request) -> BudgetOwner:
        return BudgetOwner(parse_tenant_name(request))

    _add_routes(router, "/admin/tenants/{name}/budget", budgets, find_tenant)
    _add_routes(router, "/admin/keys/{id}/budget", budgets, find_key)


def _add_routes(
    router: Router, resource: str, budgets: BudgetService, find_owner: Callable[[Request], BudgetOwner]
) -> None:
    @router.get(resource)
    def get_budget(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        return _show(budgets, find_owner(request))

    @router.put(resource)
    def put_budget(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        owner = find_owner(request)
        limits = parse_body(PutBudgetBody, request.json()).to_limits()
        budgets.put(owner, limits, get_stage(request))
        return _show(budgets, owner)

    @router.delete(resource)
    def delete_budget(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        budgets.delete(find_owner(request), get_stage(request))
        return json_response(204, None)


def _show(budgets: BudgetService, owner: BudgetOwner) -> Response:
    limits, states = budgets.get(owner)
    view: dict[str, Any] = {}
    for period in BudgetPeriod:
        limit = limits.get(period)
        view[f"{period}_usd"] = None if limit is None else format_usd(limit)
    return json_response(200, {**view, "windows": [build_state_view(state) for state in states]})
