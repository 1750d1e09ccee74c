"""The functions that the stream of the jobs table invokes: notify and usage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicate_proxy.aws.job_stream import DynamoJobStream
from replicate_proxy.aws.usage_store import DynamoUsageStore
from replicate_proxy.concurrency.releases import SlotReleaser
from replicate_proxy.usage.counter import UsageCounter
from replicate_proxy.webhooks.change_handler import ChangeHandler
from replicate_proxy.webhooks.notifier import Notifier
from replicate_proxy.webhooks.status_events import StatusPublisher
from replicate_proxy.webhooks.stream_replay import StreamReplayer
from tools.simulation.functions.concurrency import build_limits, build_line
from tools.simulation.resources import Table

if TYPE_CHECKING:
    from tools.simulation.functions.components import Components


@dataclass(frozen=True)
class Notify:
    """Handles stream batches and replays them."""

    handler: ChangeHandler
    replayer: StreamReplayer


@dataclass(frozen=True)
class Usage:
    """Counts the jobs that end, and replays stream batches."""

    counter: UsageCounter
    replayer: StreamReplayer


def build_notify(components: Components) -> Notify:
    notifier = Notifier(
        deliveries=components.deliveries,
        endpoints=components.endpoints,
        documents=components.documents,
        queue=components.notify_queue,
        publisher=StatusPublisher(components.bus, None),
        clock=components.clock,
        settings=components.delivery_settings,
        is_deleted=components.jobs.is_deleted if components.features.has_deletions else lambda *_key: False,
        checkpoint=components.checkpoint,
    )
    stream = DynamoJobStream(
        components.aws.client("dynamodbstreams"),
        clock=components.clock,
        sleep=components.scheduler.sleep,
        max_seconds=20,
    )
    releaser = SlotReleaser(components.slots, build_line(components, build_limits(components)))
    handler = ChangeHandler(releaser.release, notifier.notify)
    return Notify(handler, StreamReplayer(stream, handler.handle))


def build_usage(components: Components) -> Usage:
    store = DynamoUsageStore(components.aws.client("dynamodb"), Table.USAGE)
    counter = UsageCounter(store, components.clock, components.scheduler.sleep)
    stream = DynamoJobStream(
        components.aws.client("dynamodbstreams"),
        clock=components.clock,
        sleep=components.scheduler.sleep,
        max_seconds=20,
    )
    return Usage(counter, StreamReplayer(stream, counter.count))
