"""What the notify function is made of."""

from __future__ import annotations

from functools import cache

from replicate_proxy.aws import client
from replicate_proxy.bootstrap.deliveries import endpoints, outbox, queue, settings
from replicate_proxy.bootstrap.documents import documents
from replicate_proxy.bootstrap.faults import checkpoint
from replicate_proxy.bootstrap.surroundings import clock, env
from replicate_proxy.messaging.bus import EventBridgeBus
from replicate_proxy.notifications.announcements import Announcements
from replicate_proxy.notifications.lost_batch import LostBatches
from replicate_proxy.notifications.notifier import Notifier
from replicate_proxy.notifications.topic import SnsTopic

__all__ = ["lost_batches", "notifier"]


@cache
def notifier() -> Notifier:
    topic_arn = env.text("NOTIFY_TOPIC_ARN", "")
    topic = SnsTopic(client("sns"), topic_arn) if topic_arn else None
    return Notifier(
        outbox=outbox(),
        endpoints=endpoints(),
        documents=documents(),
        queue=queue(),
        announcements=Announcements(EventBridgeBus(client("events"), env.text("EVENT_BUS")), topic),
        clock=clock,
        settings=settings(),
        checkpoint=checkpoint,
    )


@cache
def lost_batches() -> LostBatches:
    """For whoever redrives the stream's dead letters."""
    return LostBatches(streams=client("dynamodbstreams"), notifier=notifier())
