"""What the webhook function is made of."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from replicate_proxy.api.webhook import webhook_routes
from replicate_proxy.aws import client
from replicate_proxy.bootstrap.documents import documents
from replicate_proxy.bootstrap.faults import checkpoint
from replicate_proxy.bootstrap.secrets import secrets
from replicate_proxy.bootstrap.signing_keys import root_secret
from replicate_proxy.bootstrap.surroundings import clock, env
from replicate_proxy.messaging.bus import EventBridgeBus
from replicate_proxy.services.claim_check import ClaimCheck
from replicate_proxy.services.upstream_url import WebhookUrls
from replicate_proxy.services.webhook import WebhookReceiver

if TYPE_CHECKING:
    from replicate_proxy.web import Routes

__all__ = ["routes"]


@cache
def routes() -> Routes:
    name = env.text("REPLICATE_WEBHOOK_SECRET")
    receiver = WebhookReceiver(
        secrets=lambda refresh: secrets().many(name, refresh=refresh),
        urls=WebhookUrls(env.text("WEBHOOK_BASE_URL", ""), root_secret()),
        bus=EventBridgeBus(client("events"), env.text("EVENT_BUS")),
        claim_check=ClaimCheck(documents()),
        clock=clock,
        checkpoint=checkpoint,
    )
    return webhook_routes(receiver)
