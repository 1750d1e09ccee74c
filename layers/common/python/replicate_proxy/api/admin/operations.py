"""Routes of the circuit breaker, of redelivery for any tenant, and of Replicate's webhook secret."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from replicate_proxy.api.admin.bodies import TripBreakerBody
from replicate_proxy.api.http import json_response
from replicate_proxy.api.pagination import decode_cursor
from replicate_proxy.api.validation import parse_body
from replicate_proxy.api.webhooks.bodies import RedeliverBody
from replicate_proxy.api.webhooks.views import build_delivery_view, build_redelivery_view
from replicate_proxy.auth.principal import Scope
from replicate_proxy.clock import format_optional_timestamp
from replicate_proxy.webhooks.redelivery import TenantPosition

if TYPE_CHECKING:
    from replicate_proxy.api.http import Request, Response
    from replicate_proxy.api.routing import Router
    from replicate_proxy.operations.breaker import BreakerService
    from replicate_proxy.operations.ports import Redeliveries
    from replicate_proxy.operations.redeliveries import WebhookSecretService


def add_breaker_routes(router: Router, breaker: BreakerService) -> None:
    """Register the routes of the circuit breaker for calls to Replicate."""

    @router.get("/admin/breaker")
    def get_breaker(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        return json_response(200, dict(breaker.describe()))

    @router.post("/admin/breaker/trip")
    def trip_breaker(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        body = parse_body(TripBreakerBody, request.json_or_empty())
        return json_response(200, dict(breaker.trip(seconds=body.seconds)))

    @router.post("/admin/breaker/reset")
    def reset_breaker(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        state, resume_by = breaker.reset()
        return json_response(200, {**state, "waiting_jobs_resume_by": format_optional_timestamp(resume_by)})


def add_redelivery_routes(router: Router, redeliveries: Redeliveries) -> None:
    """Register the redelivery of a tenant's webhooks: of all failed ones, or of one."""

    @router.post("/admin/tenants/{name}/redeliver")
    def redeliver_failed(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        body = parse_body(RedeliverBody, request.json())
        after = decode_cursor(body.cursor, TenantPosition.parse)
        result = redeliveries.redeliver_all_failed(request.path_params["name"], body.since, after=after)
        return json_response(202, build_redelivery_view(result))

    @router.post("/admin/tenants/{name}/deliveries/{delivery_id}/redeliver")
    def redeliver_one(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        delivery = redeliveries.redeliver(request.path_params["name"], request.path_params["delivery_id"])
        return json_response(202, build_delivery_view(delivery))


def add_webhook_secret_routes(router: Router, secret: WebhookSecretService) -> None:
    """Register the refresh of the secret that verifies Replicate's webhooks."""

    @router.post("/admin/webhook-secret/refresh")
    def refresh_webhook_secret(request: Request) -> Response:
        request.principal.require(Scope.ADMIN)
        return json_response(200, asdict(secret.refresh()))
