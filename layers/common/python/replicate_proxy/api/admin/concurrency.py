"""Routes of concurrency limits: that of a tenant, and all that jobs wait for."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from replicate_proxy.api.admin.bodies import PutConcurrencyBody
from replicate_proxy.api.admin.tenant_names import parse_tenant_name
from replicate_proxy.api.http import json_response
from replicate_proxy.api.validation import parse_body
from replicate_proxy.auth.principal import Scope

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
        return json_response(200, asdict(concurrency.get(parse_tenant_name(request))))

    @router.put(_RESOURCE)
    def put_limit(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        tenant = parse_tenant_name(request)
        body = parse_body(PutConcurrencyBody, request.json())
        return json_response(200, asdict(concurrency.put(tenant, body.max_concurrency)))

    @router.delete(_RESOURCE)
    def delete_limit(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        concurrency.delete(parse_tenant_name(request))
        return json_response(204, None)
