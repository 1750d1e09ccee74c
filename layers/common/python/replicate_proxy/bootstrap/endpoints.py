"""The composition root of the endpoints function; the admin function uses its redelivery service."""

from __future__ import annotations

from functools import cache

from replicate_proxy.api.routing import Router
from replicate_proxy.api.webhooks.deliveries import add_delivery_routes
from replicate_proxy.api.webhooks.endpoints import add_endpoint_routes
from replicate_proxy.bootstrap.delivery import (
    delivery_queue,
    delivery_settings,
    delivery_store,
    endpoint_store,
    receiver_limit_store,
    signing_secret_store,
    webhook_address_policy,
)
from replicate_proxy.bootstrap.environment import clock, env
from replicate_proxy.net.addresses import parse_url
from replicate_proxy.settings import PUBLIC_BASE_URL
from replicate_proxy.webhooks.endpoint_service import EndpointService
from replicate_proxy.webhooks.redelivery import RedeliveryService


@cache
def build_router() -> Router:
    router = Router(public_base_url=env[PUBLIC_BASE_URL])
    add_endpoint_routes(router, endpoint_service(), redelivery_service())
    add_delivery_routes(
        router, endpoints=endpoint_service(), redelivery=redelivery_service(), deliveries=delivery_store()
    )
    return router


@cache
def endpoint_service() -> EndpointService:
    policy = webhook_address_policy()
    return EndpointService(
        endpoints=endpoint_store(),
        secrets=signing_secret_store(),
        receiver_limits=receiver_limit_store(),
        check_url=lambda url: parse_url(url, policy),
        clock=clock,
    )


@cache
def redelivery_service() -> RedeliveryService:
    return RedeliveryService(
        deliveries=delivery_store(),
        endpoints=endpoint_store(),
        queue=delivery_queue(),
        clock=clock,
        settings=delivery_settings(),
    )
