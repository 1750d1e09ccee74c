"""Routes of the Replicate tokens that tenants have brought. No response shows a token."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from replicate_proxy.api.admin.bodies import PutReplicateTokenBody
from replicate_proxy.api.admin.tenant_names import parse_tenant_name
from replicate_proxy.api.http import json_response
from replicate_proxy.api.validation import parse_body
from replicate_proxy.auth.principal import Scope
from replicate_proxy.operations.accounts import calculate_deletion

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicate_proxy.accounts.directory import TenantAccounts
    from replicate_proxy.api.http import Request, Response
    from replicate_proxy.api.routing import Router
    from replicate_proxy.operations.accounts import AccountService
    from replicate_proxy.operations.ports import BreakerControl

_PATH = "/admin/tenants/{name}/replicate-token"


def add_account_routes(
    router: Router, accounts: AccountService, get_breaker: Callable[[str, str], BreakerControl]
) -> None:
    """Register the routes of tenants' tokens; `get_breaker(tenant, account name)` is that of the account."""

    @router.get(_PATH)
    def get_token(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        tenant = parse_tenant_name(request)
        found = accounts.get(tenant)
        breaker = get_breaker(tenant, found.current.name).describe() if found.current else None
        return json_response(200, {**build_account_view(tenant, found), "breaker": breaker})

    @router.put(_PATH)
    def put_token(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        tenant = parse_tenant_name(request)
        body = parse_body(PutReplicateTokenBody, request.json())
        return json_response(200, build_account_view(tenant, accounts.put(tenant, body.token)))

    @router.delete(_PATH)
    def delete_token(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        accounts.delete(parse_tenant_name(request))
        return json_response(204, None)


def build_account_view(tenant: str, accounts: TenantAccounts) -> dict[str, Any]:
    """Return what is known about the tenant's account: all but the token and the webhook secret."""
    current = accounts.current
    return {
        "tenant": tenant,
        "is_set": current is not None,
        "replicate_account": current.name if current else None,
        "since": current.since if current else None,
        "token_ends_with": current.last_characters if current else None,
        "retired": [
            {**asdict(retired), "deleted_after": calculate_deletion(retired.retired_at)}
            for retired in accounts.retired
        ],
    }
