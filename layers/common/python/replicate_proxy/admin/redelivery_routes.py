"""/admin/tenants/{name}/redeliver: an operator's redelivery of any tenant's webhooks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicate_proxy.auth.scopes import Scope
from replicate_proxy.notifications.bodies import Redeliver
from replicate_proxy.notifications.views import delivery_view
from replicate_proxy.validation import checked
from replicate_proxy.web import json_response

if TYPE_CHECKING:
    from replicate_proxy.admin.ports import Redeliveries
    from replicate_proxy.web import Request, Response, Routes

__all__ = ["add_redelivery_routes"]


def add_redelivery_routes(routes: Routes, redeliveries: Redeliveries) -> None:
    @routes.post("/admin/tenants/{name}/redeliver")
    def redeliver_failed(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        wanted = checked(Redeliver, request.json())
        done = redeliveries.all_failed_since(request.params["name"], wanted.since, cursor=wanted.cursor)
        return json_response(202, {"redelivered": done.number, "next": done.next})

    @routes.post("/admin/tenants/{name}/deliveries/{delivery_id}/redeliver")
    def redeliver_one(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        delivery = redeliveries.one(request.params["name"], request.params["delivery_id"])
        return json_response(202, delivery_view(delivery))
