"""Routes of tenants' settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicate_proxy.api.admin.bodies import PutTenantBody
from replicate_proxy.api.admin.stage import get_stage
from replicate_proxy.api.admin.tenant_names import parse_tenant_name
from replicate_proxy.api.http import json_response
from replicate_proxy.api.validation import parse_body
from replicate_proxy.auth.principal import Scope
from replicate_proxy.auth.tenants import ImageDefaults
from replicate_proxy.operations.tenants import describe_tenant

if TYPE_CHECKING:
    from replicate_proxy.api.http import Request, Response
    from replicate_proxy.api.routing import Router
    from replicate_proxy.operations.tenants import TenantService


def add_tenant_routes(router: Router, tenants: TenantService) -> None:
    """Register the routes of tenants' settings."""

    @router.get("/admin/tenants", query=())
    def list_tenants(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        return json_response(200, {"results": [describe_tenant(tenant) for tenant in tenants.list()]})

    @router.get("/admin/tenants/{name}")
    def get_tenant(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        return json_response(200, describe_tenant(tenants.get(request.path_params["name"])))

    @router.put("/admin/tenants/{name}")
    def put_tenant(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        name = parse_tenant_name(request)
        body = parse_body(PutTenantBody, request.json())
        tenant = tenants.put(
            name,
            display_name=body.display_name,
            images=ImageDefaults(body.images.format, body.images.quality),
            private_outputs=body.private_outputs,
            token_limits=body.token_limits.to_limits() if body.token_limits else None,
            retention=body.retention,
            stage=get_stage(request),
        )
        return json_response(200, describe_tenant(tenant))
