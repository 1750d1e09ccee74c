"""The composition root of the endpoints function."""

from __future__ import annotations

from functools import cache

from replicate_proxy.api.routing import Router
from replicate_proxy.api.webhooks.deliveries import add_delivery_routes
from replicate_proxy.api.webhooks.endpoints import add_endpoint_routes
from replicate_proxy.bootstrap.delivery import (
    build_delivery_store,
    build_endpoint_store,
    build_receiver_limit_store,
    build_signing_secret_store,
)
from replicate_proxy.bootstrap.environment import clock, env
from replicate_proxy.bootstrap.redelivery import build_redelivery_service
from replicate_proxy.bootstrap.webhook_addresses import build_webhook_address_policy
from replicate_proxy.net.addresses import parse_url
from replicate_proxy.settings import PUBLIC_BASE_URL
from replicate_proxy.webhooks.endpoint_service import EndpointService


@cache
def build_router() -> Router:
    router = Router(public_base_url=env[PUBLIC_BASE_URL])
    add_endpoint_routes(router, build_endpoint_service(), build_redelivery_service())
    add_delivery_routes(
        router,
        endpoints=build_endpoint_service(),
        redelivery=build_redelivery_service(),
        deliveries=build_delivery_store(),
    )
    return router


@cache
def build_endpoint_service() -> EndpointService:
    policy = build_webhook_address_policy()
    return EndpointService(
        endpoints=build_endpoint_store(),
        secrets=build_signing_secret_store(),
        receiver_limits=build_receiver_limit_store(),
        check_url=lambda url: parse_url(url, policy),
        clock=clock,
    )
