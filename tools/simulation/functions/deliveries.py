"""Webhooks to applications: the deliver function, and what owners of endpoints do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicate_proxy.pauses.pause import PausedActivity
from replicate_proxy.webhooks.deliverer import Deliverer
from replicate_proxy.webhooks.delivery_updater import DeliveryUpdater
from replicate_proxy.webhooks.endpoint_health import EndpointHealth
from replicate_proxy.webhooks.endpoint_service import EndpointService
from replicate_proxy.webhooks.redelivery import RedeliveryService
from replicate_proxy.webhooks.request_builder import RequestBuilder

if TYPE_CHECKING:
    from replicate_proxy.aws.delivery_store import DynamoDeliveryStore
    from tools.simulation.functions.components import Components


@dataclass(frozen=True)
class Endpoints:
    """What owners of endpoints and operators do."""

    service: EndpointService
    redelivery: RedeliveryService
    deliveries: DynamoDeliveryStore


def build_deliver(components: Components) -> Deliverer:
    return Deliverer(
        updater=DeliveryUpdater(
            deliveries=components.deliveries,
            queue=components.notify_queue,
            settings=components.delivery_settings,
        ),
        request_builder=RequestBuilder(
            deliveries=components.deliveries,
            endpoints=components.endpoints,
            secrets=components.signing_secrets,
            documents=components.documents,
        ),
        receiver_limits=components.receiver_limits,
        endpoint_health=EndpointHealth(
            receiver_limits=components.receiver_limits,
            endpoints=components.endpoints,
            bus=components.bus,
            settings=components.delivery_settings,
        ),
        sender=components.sender,
        clock=components.clock,
        settings=components.delivery_settings,
        find_pause=components.build_pause_finder(PausedActivity.DELIVERIES),
        random_fraction=components.draw_fraction,
        checkpoint=components.checkpoint,
    )


def build_endpoints(components: Components) -> Endpoints:
    service = EndpointService(
        endpoints=components.endpoints,
        secrets=components.signing_secrets,
        receiver_limits=components.receiver_limits,
        check_url=lambda url: url,
        clock=components.clock,
    )
    return Endpoints(service, build_redelivery(components), components.deliveries)


def build_redelivery(components: Components) -> RedeliveryService:
    return RedeliveryService(
        deliveries=components.deliveries,
        endpoints=components.endpoints,
        queue=components.notify_queue,
        clock=components.clock,
        settings=components.delivery_settings,
    )
