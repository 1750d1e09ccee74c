"""What the notify function is made of."""

from __future__ import annotations

from functools import cache

from replicate_proxy.aws import client
from replicate_proxy.bootstrap.deliveries import endpoints, outbox, queue, settings
from replicate_proxy.bootstrap.faults import checkpoint
from replicate_proxy.bootstrap.jobs import clock, documents, env
from replicate_proxy.messaging.bus import EventBridgeBus
from replicate_proxy.notifications.notifier import Notifier
from replicate_proxy.notifications.topic import SnsTopic

__all__ = ["notifier"]


@cache
def notifier() -> Notifier:
    topic_arn = env.text("NOTIFY_TOPIC_ARN", "")
    return Notifier(
        outbox=outbox(),
        endpoints=endpoints(),
        documents=documents(),
        queue=queue(),
        bus=EventBridgeBus(client("events"), env.text("EVENT_BUS")),
        clock=clock,
        settings=settings(),
        topic=SnsTopic(client("sns"), topic_arn) if topic_arn else None,
        checkpoint=checkpoint,
    )
