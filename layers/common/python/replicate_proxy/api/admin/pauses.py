"""Routes that pause and resume the predictions of a tenant, or of all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicate_proxy.api.admin.bodies import PauseBody, ResumeBody
from replicate_proxy.api.http import json_response
from replicate_proxy.api.validation import parse_body
from replicate_proxy.auth.principal import Scope
from replicate_proxy.clock import format_timestamp
from replicate_proxy.observability import logger
from replicate_proxy.pauses.pause import ALL_TENANTS, Pause

if TYPE_CHECKING:
    from replicate_proxy.api.http import Request, Response
    from replicate_proxy.api.routing import Router
    from replicate_proxy.pauses.pause import Pauses, PauseStore
    from replicate_proxy.ports import Clock


def add_pause_routes(router: Router, pauses: PauseStore, clock: Clock) -> None:
    """Register the routes of pauses."""

    @router.get("/admin/pause", query=())
    def list_pauses(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        return _show(pauses.read())

    @router.post("/admin/pause")
    def pause(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        body = parse_body(PauseBody, request.json_or_empty())
        added = Pause(body.mode, format_timestamp(clock.now()), body.reason)
        logger.warning(
            "predictions paused by operator",
            for_tenant=body.tenant,
            mode=body.mode.value,
            reason=body.reason,
        )
        return _show(pauses.put(body.tenant or ALL_TENANTS, added))

    @router.post("/admin/resume")
    def resume(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        body = parse_body(ResumeBody, request.json_or_empty())
        logger.warning("predictions resumed by operator", for_tenant=body.tenant)
        return _show(pauses.remove(body.tenant or ALL_TENANTS))


def _show(pauses: Pauses) -> Response:
    results = [
        {
            "tenant": None if tenant == ALL_TENANTS else tenant,
            "mode": pause.mode.value,
            "since": pause.since,
            "reason": pause.reason,
        }
        for tenant, pause in sorted(pauses.items())
    ]
    return json_response(200, {"results": results})
