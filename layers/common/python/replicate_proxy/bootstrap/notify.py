"""What the notify function is made of."""

from __future__ import annotations

from functools import cache

from replicate_proxy.aws.clients import get_client
from replicate_proxy.aws.event_bus import EventBridgeBus, SnsTopic
from replicate_proxy.bootstrap.delivery import endpoints, outbox, queue, settings
from replicate_proxy.bootstrap.documents import document_store
from replicate_proxy.bootstrap.environment import checkpoint, clock, env
from replicate_proxy.webhooks.notifier import Announcements, Notifier
from replicate_proxy.webhooks.stream_replay import LostBatches


@cache
def notifier() -> Notifier:
    topic_arn = env.text("NOTIFY_TOPIC_ARN", "")
    topic = SnsTopic(get_client("sns"), topic_arn) if topic_arn else None
    return Notifier(
        outbox=outbox(),
        endpoints=endpoints(),
        documents=document_store(),
        queue=queue(),
        announcements=Announcements(EventBridgeBus(get_client("events"), env.text("EVENT_BUS")), topic),
        clock=clock,
        settings=settings(),
        checkpoint=checkpoint,
    )


@cache
def lost_batches() -> LostBatches:
    """For whoever redrives the stream's dead letters."""
    return LostBatches(streams=get_client("dynamodbstreams"), notifier=notifier())
