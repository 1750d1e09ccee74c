"""What the dispatch function is made of."""

from __future__ import annotations

from functools import cache

from replicate_proxy.aws.clients import get_client
from replicate_proxy.aws.queues import SqsCommandQueue
from replicate_proxy.bootstrap.documents import document_store
from replicate_proxy.bootstrap.environment import checkpoint, clock, env
from replicate_proxy.bootstrap.jobs import store, timeouts, updater
from replicate_proxy.bootstrap.replicate import prediction_writer
from replicate_proxy.bootstrap.secrets import root_secret
from replicate_proxy.replicate_api.callback_url import WebhookUrls
from replicate_proxy.services.dispatch import Dispatch, DispatchSettings


@cache
def dispatch() -> Dispatch:
    return Dispatch(
        updater=updater(),
        store=store(),
        documents=document_store(),
        queue=SqsCommandQueue(get_client("sqs"), env.text("DISPATCH_QUEUE_URL")),
        predictions=prediction_writer(),
        urls=WebhookUrls(env.text("WEBHOOK_BASE_URL"), root_secret()),
        clock=clock,
        checkpoint=checkpoint,
        settings=DispatchSettings(
            webhooks=timeouts().webhooks_enabled,
            lease_seconds=env.number("DISPATCH_LEASE_SECONDS", DispatchSettings().lease_seconds),
            queue_lifetime_seconds=timeouts().max_queued_seconds,
            queued_seconds=timeouts().queued_seconds,
        ),
    )
