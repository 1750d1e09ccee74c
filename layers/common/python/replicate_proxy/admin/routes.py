"""The admin API as one callable."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from replicate_proxy.admin.breaker_routes import add_breaker_routes
from replicate_proxy.admin.key_routes import add_key_routes
from replicate_proxy.admin.paths import with_resource
from replicate_proxy.admin.queue_routes import add_queue_routes
from replicate_proxy.admin.tenant_routes import add_tenant_routes
from replicate_proxy.web import Routes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from replicate_proxy.admin.dead_letters import DeadLetters
    from replicate_proxy.admin.keys import KeyService
    from replicate_proxy.admin.ports import BreakerSwitch
    from replicate_proxy.admin.tenants import TenantService
    from replicate_proxy.web import Response

__all__ = ["AdminApi"]

_RESOURCES = (
    "/admin/breaker",
    "/admin/breaker/reset",
    "/admin/breaker/trip",
    "/admin/keys",
    "/admin/keys/{id}",
    "/admin/keys/{id}/rotate",
    "/admin/queues",
    "/admin/queues/{name}/dead-letters",
    "/admin/queues/{name}/discard",
    "/admin/queues/{name}/redrive",
    "/admin/tenants",
    "/admin/tenants/{name}",
)


class AdminApi:
    """Dispatches /admin/… events to the services behind them."""

    def __init__(
        self,
        *,
        keys: KeyService,
        tenants: TenantService,
        letters: DeadLetters,
        breaker: BreakerSwitch | None = None,
    ) -> None:
        self._routes = Routes()
        if breaker is not None:
            add_breaker_routes(self._routes, breaker)
        add_key_routes(self._routes, keys)
        add_queue_routes(self._routes, letters)
        add_tenant_routes(self._routes, tenants)

    def handle(self, event: Mapping[str, Any]) -> Response:
        return self._routes.handle(with_resource(event, _RESOURCES))
