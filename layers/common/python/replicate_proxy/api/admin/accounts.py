"""What the admin API shows. Digests and usage-key values stay inside. Pure.

/admin/keys

/admin/tenants
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from replicate_proxy.api.admin.bodies import CreateKeyBody, PutTenantBody, RotateKeyBody, UpdateKeyBody
from replicate_proxy.api.http import json_response
from replicate_proxy.api.validation import field_error, parse_body
from replicate_proxy.auth.principal import Scope
from replicate_proxy.auth.tenants import is_tenant_name
from replicate_proxy.clock import format_optional_timestamp, format_timestamp
from replicate_proxy.operations.ports import Stage

if TYPE_CHECKING:
    from replicate_proxy.api.http import Request, Response, Router
    from replicate_proxy.auth.keys import ApiKey
    from replicate_proxy.auth.tenants import Tenant
    from replicate_proxy.operations.keys import KeyService
    from replicate_proxy.operations.tenants import TenantService


def build_key_view(key: ApiKey) -> dict[str, Any]:
    return {
        "id": key.id,
        "tenant": key.tenant,
        "name": key.name,
        "scopes": sorted(key.scopes),
        "created_at": format_timestamp(key.created_at),
        "expires_at": format_optional_timestamp(key.expires_at),
        "last_used_at": format_optional_timestamp(key.last_used_at),
        "revoked_at": format_optional_timestamp(key.revoked_at),
        "previous_secret_until": format_optional_timestamp(key.previous_digest_expires_at),
        "allowed_ips": list(key.allowed_ips),
        "allowed_models": list(key.allowed_models),
        "limits": asdict(key.limits) if key.limits else None,
    }


def build_tenant_view(tenant: Tenant) -> dict[str, Any]:
    return {
        "name": tenant.name,
        "display_name": tenant.display_name,
        "images": asdict(tenant.images),
        "token_limits": asdict(tenant.token_limits) if tenant.token_limits else None,
        "created_at": format_optional_timestamp(tenant.created_at),
        "updated_at": format_optional_timestamp(tenant.updated_at),
    }


def add_key_routes(routes: Router, keys: KeyService) -> None:
    @routes.post("/admin/keys")
    def create(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        key, text = keys.create(parse_body(CreateKeyBody, request.json()), stage_of(request))
        return json_response(201, {**build_key_view(key), "key": str(text)})

    @routes.get("/admin/keys")
    def list_keys(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        found = keys.list(tenant=request.query.get("tenant"))
        return json_response(200, {"results": [build_key_view(key) for key in found]})

    @routes.get("/admin/keys/{id}")
    def get(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        return json_response(200, build_key_view(keys.get(request.path_params["id"])))

    @routes.patch("/admin/keys/{id}")
    def update(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        wanted = parse_body(UpdateKeyBody, request.json())
        return json_response(
            200, build_key_view(keys.update(request.path_params["id"], wanted, stage_of(request)))
        )

    @routes.post("/admin/keys/{id}/rotate")
    def rotate(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        wanted = parse_body(RotateKeyBody, request.json() if request.body else {})
        key, text = keys.rotate(request.path_params["id"], wanted, stage_of(request))
        return json_response(200, {**build_key_view(key), "key": str(text)})

    @routes.delete("/admin/keys/{id}")
    def revoke(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        key, effective = keys.revoke(request.path_params["id"], stage_of(request))
        return json_response(200, {**build_key_view(key), "effective_at": format_timestamp(effective)})


def stage_of(request: Request) -> Stage:
    """The stage whose callers and caches a change concerns: the one that the change came through."""
    return Stage(str(request.context.get("apiId", "")), str(request.context.get("stage", "")))


def add_tenant_routes(routes: Router, tenants: TenantService) -> None:
    @routes.get("/admin/tenants")
    def list_tenants(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        return json_response(200, {"results": [build_tenant_view(tenant) for tenant in tenants.list()]})

    @routes.get("/admin/tenants/{name}")
    def get(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        return json_response(200, build_tenant_view(tenants.get(request.path_params["name"])))

    @routes.put("/admin/tenants/{name}")
    def put(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        name = request.path_params["name"]
        if not is_tenant_name(name):
            raise field_error("name", "must be 1 to 63 lower-case letters, digits and inner hyphens")
        return json_response(
            200,
            build_tenant_view(
                tenants.put(name, parse_body(PutTenantBody, request.json()), stage_of(request))
            ),
        )

    @routes.delete("/admin/tenants/{name}")
    def delete(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        tenants.delete(request.path_params["name"])
        return json_response(204, None)
