"""The route of usage for operators: of one tenant, or of all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicate_proxy.api.admin.tenant_names import parse_tenant_parameter
from replicate_proxy.api.usage import (
    USAGE_PARAMETERS,
    build_usage_response,
    parse_days,
    parse_format,
    parse_groups,
)
from replicate_proxy.auth.principal import Scope
from replicate_proxy.usage.report import MAX_DAYS, MAX_DAYS_OF_ALL_TENANTS, UsageGroup

if TYPE_CHECKING:
    from replicate_proxy.api.http import Request, Response
    from replicate_proxy.api.routing import Router
    from replicate_proxy.ports import Clock
    from replicate_proxy.usage.report import UsageReader


def add_admin_usage_routes(router: Router, usage: UsageReader, clock: Clock) -> None:
    """Register the read of usage for operators."""

    @router.get("/admin/usage", query=("tenant", *USAGE_PARAMETERS))
    def get_usage(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        tenant = parse_tenant_parameter(request)
        max_days = MAX_DAYS_OF_ALL_TENANTS if tenant is None else MAX_DAYS
        first_day, last_day = parse_days(request, clock.now().date(), max_days=max_days)
        group_by, file_format = parse_groups(request, tuple(UsageGroup)), parse_format(request)
        return build_usage_response(usage.report(tenant, first_day, last_day, group_by), file_format)
