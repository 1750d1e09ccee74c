"""Routes that pause and resume the predictions or the webhooks of a tenant, or of all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicate_proxy.api.admin.bodies import PauseBody, ResumeBody
from replicate_proxy.api.http import json_response
from replicate_proxy.api.validation import parse_body
from replicate_proxy.auth.principal import Scope
from replicate_proxy.pauses.pause import ALL_TENANTS, PausedActivity

if TYPE_CHECKING:
    from replicate_proxy.api.http import Request, Response
    from replicate_proxy.api.routing import Router
    from replicate_proxy.operations.pauses import PauseService


def add_pause_routes(router: Router, pauses: PauseService) -> None:
    """Register the routes of pauses."""

    @router.get("/admin/pause", query=())
    def list_pauses(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        return _show(pauses)

    @router.post("/admin/pause")
    def pause(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        body = parse_body(PauseBody, request.json_or_empty())
        pauses.pause(body.activity, body.tenant, body.pause_mode, body.reason)
        return _show(pauses)

    @router.post("/admin/resume")
    def resume(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        body = parse_body(ResumeBody, request.json_or_empty())
        pauses.resume(body.activity, body.tenant)
        return _show(pauses)


def _show(pauses: PauseService) -> Response:
    results = [
        {
            "activity": activity.value,
            "tenant": None if tenant == ALL_TENANTS else tenant,
            "mode": pause.mode.value,
            "since": pause.since,
            "reason": pause.reason,
        }
        for activity in PausedActivity
        for tenant, pause in sorted(pauses.read(activity).items())
    ]
    return json_response(200, {"results": results})
