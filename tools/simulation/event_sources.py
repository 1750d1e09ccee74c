"""The event source mappings of the functions, and their asynchronous invocations."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from replicate_proxy.jobs.model import TERMINAL_STATUSES
from tools.simulation.functions.batches import build_batch_worker
from tools.simulation.functions.components import Components
from tools.simulation.functions.deliveries import build_deliver
from tools.simulation.functions.dispatch import build_dispatch
from tools.simulation.functions.operation_worker import build_operation_worker
from tools.simulation.functions.reports import build_reports
from tools.simulation.functions.stream_consumers import build_notify, build_usage
from tools.simulation.lambda_service import (
    AsynchronousFunction,
    EnvironmentPool,
    FailedReceive,
    FilteredShard,
    QueueSource,
    StreamSource,
)
from tools.simulation.observation import Queues, observe_writes
from tools.simulation.resources import ADMIN_FUNCTION, BATCH_FUNCTION, STACK, Queue, Table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tools.simulation.aws_anomalies import AwsAnomalies
    from tools.simulation.handlers import Handlers

# As in template.yaml
_TIMEOUTS = {
    "admin-work": 29.0,
    "batch": 300.0,
    "batch-dispatch": 60.0,
    "dispatch": 60.0,
    "track": 30.0,
    "harvest": 300.0,
    "notify": 30.0,
    "deliver": 60.0,
    "usage": 30.0,
}
_CONCURRENCY = {"dispatch": 20, "batch-dispatch": 5, "track": 10, "harvest": 20, "deliver": 50}
_BATCH_SIZES = {"track": 10}


type BuildPool = Callable[[Callable[[Components], Any]], EnvironmentPool]


class EventSources:
    """What invokes the functions: queues, the stream of the jobs table, and asynchronous invocations.

    `build_pool(build)` returns the execution environments of a function.
    """

    def __init__(
        self,
        components: Components,
        anomalies: AwsAnomalies,
        queues: Queues,
        *,
        handlers: Handlers,
        build_pool: BuildPool,
        on_failed_receive: Callable[[FailedReceive], None],
        counts_usage: bool,
    ) -> None:
        self._scheduler = components.scheduler
        self._plan = components.plan
        self._aws = components.aws
        self._anomalies = anomalies
        self._queues = queues
        self._handlers = handlers
        self._build_pool = build_pool
        self._on_failed_receive = on_failed_receive
        self._notify_pool = build_pool(build_notify)
        self._usage_pool = build_pool(build_usage)
        self._connect_queues()
        self._connect_workers()
        self.streams = self._connect_streams()
        if counts_usage:
            self.streams += self._connect_usage()
        observe_writes(components.aws, self._poll_streams_after_write)

    def poll_soon(self) -> None:
        """Let the event sources look for messages: something was sent."""
        for source in self.queue_sources.values():
            source.schedule_poll()

    def replay_stream_batch(self, dead_letter: Mapping[str, Any]) -> None:
        """Invoke the consumer that gave up a batch with its dead letter, as an operator does."""
        function = dead_letter["requestContext"]["functionArn"]
        pool = self._usage_pool if function == "usage" else self._notify_pool
        environment = pool.take()
        try:
            environment.replayer.replay(dead_letter)
        finally:
            pool.give_back(environment, is_crashed=False)

    def _connect_queues(self) -> None:
        self.queue_sources = {
            Queue.DISPATCH: self._build_source(
                Queue.DISPATCH, "dispatch", build_dispatch, self._handlers.dispatch
            ),
            Queue.BATCH_DISPATCH: self._build_source(
                Queue.BATCH_DISPATCH, "batch-dispatch", build_dispatch, self._handlers.dispatch
            ),
            Queue.TRACK: self._build_source(Queue.TRACK, "track", build_reports, self._handlers.track),
            Queue.HARVEST: self._build_source(
                Queue.HARVEST, "harvest", build_reports, self._handlers.harvest
            ),
            Queue.NOTIFY: self._build_source(Queue.NOTIFY, "deliver", build_deliver, self._handlers.deliver),
        }

    def _connect_workers(self) -> None:
        """Connect the functions that are invoked asynchronously, the admin function only for its worker."""
        self.batch_worker = self._build_worker("batch", build_batch_worker, self._handlers.work_on_batches)
        workers = {
            BATCH_FUNCTION: self.batch_worker,
            ADMIN_FUNCTION: self._build_worker(
                "admin-work", build_operation_worker, self._handlers.work_on_operations
            ),
        }
        for function in workers:
            self._aws.functions.register(function, lambda _event: None)
        self._aws.functions.on_asynchronous = lambda call: workers[call.function].accept(call)
        # The parts of results are small, too.
        self._aws.s3.min_part_bytes = 1

    def _build_worker(
        self, function: str, build: Callable[[Components], Any], handle: Callable[[Any], None]
    ) -> AsynchronousFunction:
        return AsynchronousFunction(
            scheduler=self._scheduler,
            function=function,
            pool=self._build_pool(build),
            handle=handle,
            timeout_seconds=_TIMEOUTS[function],
            draw_delays=self._anomalies.invocation_delays,
        )

    def _build_source(
        self,
        queue: Queue,
        function: str,
        build: Callable[[Components], Any],
        handle: Callable[[Any, str], None],
    ) -> QueueSource:
        return QueueSource(
            scheduler=self._scheduler,
            queues=self._queues,
            queue=queue,
            function=function,
            pool=self._build_pool(build),
            handle=handle,
            timeout_seconds=_TIMEOUTS[function],
            batch_size=_BATCH_SIZES.get(function, 1),
            max_concurrency=_CONCURRENCY[function],
            on_failed_receive=self._on_failed_receive,
        )

    def _connect_streams(self) -> list[StreamSource]:
        stream = self._aws.dynamodb.stream(Table.JOBS)
        stream.has_empty_page = self._anomalies.has_empty_page
        shard_ids = list(stream.shards)
        return [
            StreamSource(
                scheduler=self._scheduler,
                function="notify",
                shard_id=shard_id,
                stream_arn=stream.arn,
                read=partial(stream.read, shard_id),
                pool=self._notify_pool,
                handle=self._handlers.notify,
                timeout_seconds=_TIMEOUTS["notify"],
                send_dead_letter=self._send_stream_dead_letter,
            )
            for shard_id in shard_ids
        ]

    def _connect_usage(self) -> list[StreamSource]:
        """Return the sources of the usage function, whose filter lets only ends of jobs through."""
        stream = self._aws.dynamodb.stream(Table.JOBS)
        return [
            StreamSource(
                scheduler=self._scheduler,
                function="usage",
                shard_id=shard_id,
                stream_arn=stream.arn,
                read=FilteredShard(partial(stream.read, shard_id), _shows_ended_job).read,
                pool=self._usage_pool,
                handle=self._handlers.count_usage,
                timeout_seconds=_TIMEOUTS["usage"],
                send_dead_letter=self._send_stream_dead_letter,
                batch_size=100,
            )
            for shard_id in list(stream.shards)
        ]

    def _poll_streams_after_write(self, table: str, *_images: object) -> None:
        if table == Table.JOBS:
            self._scheduler.call_at(self._scheduler.now + self._plan.propagation_seconds, self._poll_streams)

    def _poll_streams(self) -> None:
        for source in self.streams:
            source.poll()

    def _send_stream_dead_letter(self, body: str) -> None:
        self._queues.send(f"{STACK}-notify-stream-dead-letters", body)


def _shows_ended_job(record: Mapping[str, Any]) -> bool:
    change = record["dynamodb"]
    image = change.get("NewImage", {})
    return change["Keys"]["sk"]["S"] == "JOB" and image.get("status", {}).get("S") in TERMINAL_STATUSES
