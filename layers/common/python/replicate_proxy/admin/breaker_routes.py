"""/admin/breaker"""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicate_proxy.admin.bodies import TripBody
from replicate_proxy.auth.scopes import Scope
from replicate_proxy.observability import logger
from replicate_proxy.validation import checked
from replicate_proxy.web import json_response

if TYPE_CHECKING:
    from replicate_proxy.admin.ports import BreakerSwitch
    from replicate_proxy.web import Request, Response, Routes

__all__ = ["add_breaker_routes"]


def add_breaker_routes(routes: Routes, breaker: BreakerSwitch) -> None:
    @routes.get("/admin/breaker")
    def view(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        return json_response(200, dict(breaker.view()))

    @routes.post("/admin/breaker/trip")
    def trip(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        wanted = checked(TripBody, request.json() if request.body else {})
        logger.warning("breaker opened by an operator", seconds=wanted.seconds)
        breaker.trip("admin", seconds=wanted.seconds)
        return json_response(200, dict(breaker.view()))

    @routes.post("/admin/breaker/reset")
    def reset(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        logger.warning("breaker closed by an operator")
        breaker.reset()
        return json_response(200, dict(breaker.view()))
