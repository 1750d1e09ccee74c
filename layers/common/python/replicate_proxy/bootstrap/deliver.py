"""What the deliver function is made of."""

from __future__ import annotations

import os
from functools import cache
from typing import cast

from replicate_proxy.aws.clients import get_client
from replicate_proxy.aws.event_bus import EventBridgeBus
from replicate_proxy.bootstrap.delivery import (
    endpoints,
    lanes,
    outbox,
    queue,
    settings,
    tenant_secrets,
    webhook_policy,
)
from replicate_proxy.bootstrap.documents import document_store
from replicate_proxy.bootstrap.environment import checkpoint, clock, env
from replicate_proxy.net.session import GuardedSession
from replicate_proxy.webhooks.deliverer import Deliverer
from replicate_proxy.webhooks.delivery_repository import Progress
from replicate_proxy.webhooks.receiver_limits import Receivers
from replicate_proxy.webhooks.request_builder import Letters
from replicate_proxy.webhooks.sender import GuardedSender, Session


@cache
def deliverer() -> Deliverer:
    chosen = settings()
    bus = EventBridgeBus(get_client("events"), env.text("EVENT_BUS"))
    return Deliverer(
        progress=Progress(outbox=outbox(), queue=queue(), settings=chosen),
        letters=Letters(
            outbox=outbox(), endpoints=endpoints(), secrets=tenant_secrets(), documents=document_store()
        ),
        receivers=Receivers(lanes=lanes(), endpoints=endpoints(), bus=bus, settings=chosen),
        sender=GuardedSender(
            cast("Session", _session()), timeout=chosen.total_timeout, answer_limit=chosen.answer_limit
        ),
        clock=clock,
        settings=chosen,
        checkpoint=checkpoint,
    )


def _session() -> GuardedSession:
    return GuardedSession(
        webhook_policy(os.environ),
        connect_timeout_seconds=settings().connect_timeout,
        read_timeout_seconds=settings().total_timeout,
    )
