"""The composition root of the notify function: the stream of the jobs table becomes deliveries."""

from __future__ import annotations

from functools import cache

from replicate_proxy.aws.clients import get_client
from replicate_proxy.aws.event_bus import EventBridgeBus, SnsTopic
from replicate_proxy.bootstrap.concurrency import build_slot_releaser
from replicate_proxy.bootstrap.delivery import (
    build_delivery_queue,
    build_delivery_settings,
    build_delivery_store,
    build_endpoint_store,
)
from replicate_proxy.bootstrap.documents import build_document_store
from replicate_proxy.bootstrap.environment import checkpoint, clock, env
from replicate_proxy.bootstrap.job_stores import build_job_store
from replicate_proxy.settings import EVENT_BUS, NOTIFY_TOPIC_ARN
from replicate_proxy.webhooks.change_handler import ChangeHandler
from replicate_proxy.webhooks.notifier import Notifier
from replicate_proxy.webhooks.status_events import StatusPublisher


@cache
def build_notifier() -> Notifier:
    return Notifier(
        deliveries=build_delivery_store(),
        endpoints=build_endpoint_store(),
        documents=build_document_store(),
        queue=build_delivery_queue(),
        publisher=_build_status_publisher(),
        clock=clock,
        settings=build_delivery_settings(),
        is_deleted=build_job_store().is_deleted,
        checkpoint=checkpoint,
    )


@cache
def build_change_handler() -> ChangeHandler:
    return ChangeHandler(build_slot_releaser().release, build_notifier().notify)


def _build_status_publisher() -> StatusPublisher:
    topic_arn = env[NOTIFY_TOPIC_ARN]
    topic = SnsTopic(get_client("sns"), topic_arn) if topic_arn else None
    return StatusPublisher(EventBridgeBus(get_client("events"), env[EVENT_BUS]), topic)
