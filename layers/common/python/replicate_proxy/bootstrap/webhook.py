"""The composition root of the webhook function."""

from __future__ import annotations

from functools import cache

from replicate_proxy.api.replicate_webhook import add_replicate_webhook_routes
from replicate_proxy.api.routing import Router
from replicate_proxy.aws.clients import get_client
from replicate_proxy.aws.event_bus import EventBridgeBus
from replicate_proxy.bootstrap.documents import build_document_store
from replicate_proxy.bootstrap.environment import checkpoint, clock, env
from replicate_proxy.bootstrap.secrets import build_secret_reader, load_root_secret
from replicate_proxy.replicate_api.callback_url import CallbackUrls
from replicate_proxy.services.replicate_webhook import ReplicateWebhookHandler
from replicate_proxy.services.reports import ReportPublisher
from replicate_proxy.settings import EVENT_BUS, REPLICATE_WEBHOOK_SECRET


@cache
def build_router() -> Router:
    secret_name = env[REPLICATE_WEBHOOK_SECRET]
    handler = ReplicateWebhookHandler(
        secrets=lambda refresh: build_secret_reader().get_list(secret_name, refresh=refresh),
        urls=CallbackUrls("", load_root_secret()),
        reports=ReportPublisher(EventBridgeBus(get_client("events"), env[EVENT_BUS]), build_document_store()),
        clock=clock,
        checkpoint=checkpoint,
    )
    router = Router()
    add_replicate_webhook_routes(router, handler)
    return router
