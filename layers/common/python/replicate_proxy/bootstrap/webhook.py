"""The composition root of the webhook function."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from replicate_proxy.api.replicate_webhook import add_replicate_webhook_routes
from replicate_proxy.api.routing import Router
from replicate_proxy.aws.clients import get_client
from replicate_proxy.aws.event_bus import EventBridgeBus
from replicate_proxy.bootstrap.documents import build_document_store
from replicate_proxy.bootstrap.environment import checkpoint, clock, env
from replicate_proxy.bootstrap.secrets import (
    build_secret_reader,
    load_root_secret,
    name_tenant_webhook_secret,
)
from replicate_proxy.errors import ConfigurationError
from replicate_proxy.observability import logger
from replicate_proxy.replicate_api.callback_url import CallbackUrls
from replicate_proxy.services.replicate_webhook import ReplicateWebhookHandler
from replicate_proxy.services.reports import ReportPublisher
from replicate_proxy.settings import EVENT_BUS, REPLICATE_WEBHOOK_SECRET

if TYPE_CHECKING:
    from collections.abc import Sequence

    from replicate_proxy.jobs.model import Account


@cache
def build_router() -> Router:
    handler = ReplicateWebhookHandler(
        secrets=read_secrets,
        urls=CallbackUrls("", load_root_secret()),
        reports=ReportPublisher(EventBridgeBus(get_client("events"), env[EVENT_BUS]), build_document_store()),
        clock=clock,
        checkpoint=checkpoint,
    )
    router = Router()
    add_replicate_webhook_routes(router, handler)
    return router


def read_secrets(account: Account, refresh: bool) -> Sequence[str]:
    """Return the secrets with which Replicate may sign webhooks of the account.

    None are left of an account that was removed days ago: its webhooks count as forged.
    """
    reader = build_secret_reader()
    if account.is_shared:
        return reader.get_list(env[REPLICATE_WEBHOOK_SECRET], refresh=refresh)
    try:
        return reader.get_list(name_tenant_webhook_secret(account), refresh=refresh)
    except ConfigurationError as error:
        logger.warning("webhook secret of tenant not readable", tenant=account.tenant, reason=str(error))
        return ()
