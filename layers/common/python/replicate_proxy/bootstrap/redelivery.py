"""Redelivery, for the functions that restart deliveries: endpoints, admin, console and sweep."""

from __future__ import annotations

from functools import cache

from replicate_proxy.bootstrap.delivery import (
    build_delivery_queue,
    build_delivery_settings,
    build_delivery_store,
    build_endpoint_store,
)
from replicate_proxy.bootstrap.environment import clock
from replicate_proxy.webhooks.redelivery import RedeliveryService


@cache
def build_redelivery_service() -> RedeliveryService:
    return RedeliveryService(
        deliveries=build_delivery_store(),
        endpoints=build_endpoint_store(),
        queue=build_delivery_queue(),
        clock=clock,
        settings=build_delivery_settings(),
    )
