"""The admin API as one callable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from replicate_proxy.api.admin.accounts import add_key_routes, add_tenant_routes
from replicate_proxy.api.admin.operations import (
    add_breaker_routes,
    add_queue_routes,
    add_redelivery_routes,
    add_secret_routes,
)
from replicate_proxy.api.http import Router
from replicate_proxy.api.routing import with_resource

if TYPE_CHECKING:
    from collections.abc import Mapping

    from replicate_proxy.api.http import Response
    from replicate_proxy.operations.dead_letters import DeadLetterService
    from replicate_proxy.operations.keys import KeyService
    from replicate_proxy.operations.ports import BreakerControl, Redeliveries
    from replicate_proxy.operations.tenants import TenantService
    from replicate_proxy.replicate_api.webhook_secret import WebhookSecretRefresher


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
    "/admin/tenants/{name}/deliveries/{delivery_id}/redeliver",
    "/admin/tenants/{name}/redeliver",
    "/admin/webhook-secret/refresh",
)


@dataclass(frozen=True)
class AdminServices:
    """What the admin API is a face of."""

    keys: KeyService
    tenants: TenantService
    dead_letters: DeadLetterService
    breaker: BreakerControl
    redeliveries: Redeliveries
    webhook_secret: WebhookSecretRefresher


class AdminApi:
    """Dispatches /admin/… events to the services behind them."""

    def __init__(self, services: AdminServices) -> None:
        self._webhook_secret = services.webhook_secret
        self._routes = Router()
        add_breaker_routes(self._routes, services.breaker)
        add_key_routes(self._routes, services.keys)
        add_queue_routes(self._routes, services.dead_letters)
        add_redelivery_routes(self._routes, services.redeliveries)
        add_secret_routes(self._routes, services.webhook_secret)
        add_tenant_routes(self._routes, services.tenants)

    def handle(self, event: Mapping[str, Any]) -> Response:
        return self._routes.handle(with_resource(event, _RESOURCES))

    def on_schedule(self) -> None:
        """What an operator would otherwise have to remember; an error fails the run, and the alarm tells."""
        self._webhook_secret.refresh()
