"""/admin/tenants"""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicate_proxy.admin.bodies import TenantBody
from replicate_proxy.admin.key_routes import stage_of
from replicate_proxy.admin.views import tenant_view
from replicate_proxy.auth.scopes import Scope
from replicate_proxy.auth.tenants import is_tenant
from replicate_proxy.validation import checked, invalid
from replicate_proxy.web import json_response

if TYPE_CHECKING:
    from replicate_proxy.admin.tenants import TenantService
    from replicate_proxy.web import Request, Response, Routes

__all__ = ["add_tenant_routes"]


def add_tenant_routes(routes: Routes, tenants: TenantService) -> None:
    @routes.get("/admin/tenants")
    def list_tenants(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        return json_response(200, {"results": [tenant_view(tenant) for tenant in tenants.list()]})

    @routes.get("/admin/tenants/{name}")
    def get(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        return json_response(200, tenant_view(tenants.get(request.params["name"])))

    @routes.put("/admin/tenants/{name}")
    def put(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        name = request.params["name"]
        if not is_tenant(name):
            raise invalid("name", "must be 1 to 63 lower-case letters, digits and inner hyphens")
        return json_response(
            200, tenant_view(tenants.put(name, checked(TenantBody, request.json()), stage_of(request)))
        )

    @routes.delete("/admin/tenants/{name}")
    def delete(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        tenants.delete(request.params["name"])
        return json_response(204, None)
