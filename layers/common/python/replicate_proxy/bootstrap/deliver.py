"""The composition root of the deliver function, which attempts the deliveries on the notify queue."""

from __future__ import annotations

from functools import cache

from replicate_proxy.aws.clients import get_client
from replicate_proxy.aws.event_bus import EventBridgeBus
from replicate_proxy.bootstrap.control import build_delivery_pause_switch
from replicate_proxy.bootstrap.delivery import (
    build_delivery_queue,
    build_delivery_settings,
    build_delivery_store,
    build_endpoint_store,
    build_receiver_limit_store,
    build_signing_secret_store,
)
from replicate_proxy.bootstrap.documents import build_document_store
from replicate_proxy.bootstrap.environment import checkpoint, clock, env
from replicate_proxy.bootstrap.private_urls import build_webhook_url_signer
from replicate_proxy.bootstrap.webhook_addresses import build_webhook_address_policy
from replicate_proxy.net.session import GuardedSession
from replicate_proxy.settings import EVENT_BUS
from replicate_proxy.webhooks.deliverer import Deliverer
from replicate_proxy.webhooks.delivery_updater import DeliveryUpdater
from replicate_proxy.webhooks.endpoint_health import EndpointHealth
from replicate_proxy.webhooks.request_builder import RequestBuilder
from replicate_proxy.webhooks.sender import HttpSender


@cache
def build_deliverer() -> Deliverer:
    settings = build_delivery_settings()
    return Deliverer(
        updater=DeliveryUpdater(
            deliveries=build_delivery_store(), queue=build_delivery_queue(), settings=settings
        ),
        request_builder=RequestBuilder(
            deliveries=build_delivery_store(),
            endpoints=build_endpoint_store(),
            secrets=build_signing_secret_store(),
            documents=build_document_store(),
            sign_urls=build_webhook_url_signer().sign_urls,
        ),
        receiver_limits=build_receiver_limit_store(),
        endpoint_health=EndpointHealth(
            receiver_limits=build_receiver_limit_store(),
            endpoints=build_endpoint_store(),
            bus=EventBridgeBus(get_client("events"), env[EVENT_BUS]),
            settings=settings,
        ),
        sender=_build_sender(),
        clock=clock,
        settings=settings,
        find_pause=build_delivery_pause_switch().find,
        checkpoint=checkpoint,
    )


def _build_sender() -> HttpSender:
    settings = build_delivery_settings()
    session = GuardedSession(
        build_webhook_address_policy(),
        connect_timeout_seconds=settings.connect_timeout_seconds,
        read_timeout_seconds=settings.total_timeout_seconds,
    )
    return HttpSender(
        session,
        timeout_seconds=settings.total_timeout_seconds,
        max_response_bytes=settings.max_response_bytes,
    )
