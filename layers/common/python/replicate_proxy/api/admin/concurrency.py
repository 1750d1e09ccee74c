"""Routes of concurrency limits: that of a tenant, and all that jobs wait for."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from replicate_proxy.api.admin.bodies import TENANT_NAME_RULE, PutConcurrencyBody
from replicate_proxy.api.http import json_response
from replicate_proxy.api.validation import parse_body
from replicate_proxy.auth.principal import Scope
from replicate_proxy.auth.tenants import is_tenant_name
from replicate_proxy.errors import field_error

if TYPE_CHECKING:
    from replicate_proxy.api.http import Request, Response
    from replicate_proxy.api.routing import Router
    from replicate_proxy.operations.concurrency import ConcurrencyService

_RESOURCE = "/admin/tenants/{name}/concurrency"


def add_concurrency_routes(router: Router, concurrency: ConcurrencyService) -> None:
    """Register the routes of concurrency limits. Those of models are in their entries."""

    @router.get("/admin/concurrency", query=())
    def list_waiting(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        return json_response(200, {"results": [asdict(state) for state in concurrency.list_waiting()]})

    @router.get(_RESOURCE)
    def get_limit(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        return json_response(200, asdict(concurrency.get(_parse_tenant(request))))

    @router.put(_RESOURCE)
    def put_limit(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        tenant = _parse_tenant(request)
        body = parse_body(PutConcurrencyBody, request.json())
        return json_response(200, asdict(concurrency.put(tenant, body.max_concurrency)))

    @router.delete(_RESOURCE)
    def delete_limit(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        concurrency.delete(_parse_tenant(request))
        return json_response(204, None)


def _parse_tenant(request: Request) -> str:
    name = request.path_params["name"]
    if not is_tenant_name(name):
        raise field_error("name", TENANT_NAME_RULE)
    return name
