"""The route of batches of all tenants."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicate_proxy.api.admin.tenant_names import parse_tenant_parameter
from replicate_proxy.api.batches import parse_batch_limit
from replicate_proxy.api.http import json_response
from replicate_proxy.api.pagination import build_page, decode_id_cursor
from replicate_proxy.auth.principal import Scope
from replicate_proxy.services.batch_views import summarize_batch

if TYPE_CHECKING:
    from replicate_proxy.api.http import Request, Response
    from replicate_proxy.api.routing import Router
    from replicate_proxy.ports import Clock
    from replicate_proxy.services.batch_list import BatchList


def add_admin_batch_routes(router: Router, batches: BatchList, clock: Clock) -> None:
    """Register `GET /admin/batches`."""

    @router.get("/admin/batches", query=("tenant", "limit", "cursor"))
    def list_batches(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        tenant = parse_tenant_parameter(request)
        before_id = decode_id_cursor(request.query.get("cursor"))
        found = batches.read(tenant, before_id=before_id, limit=parse_batch_limit(request))
        now = clock.now()
        results = [{"tenant": state.batch.tenant, **summarize_batch(state, now)} for state in found.states]
        position = (found.next_before_id,) if found.next_before_id else None
        return json_response(200, build_page(request, results, position))
