"""The whole system in one process: the pipeline, AWS below it, Replicate and the applications around it."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from replicate_proxy.aws.delivery_records import job_pk, tenant_pk
from replicate_proxy.aws.dynamodb import from_item
from replicate_proxy.aws.job_records import batch_key, is_deletion, job_from_record
from replicate_proxy.aws.job_stream import job_change_from_stream_record
from replicate_proxy.clock import format_timestamp
from replicate_proxy.contracts.commands import DispatchCommand, DispatchKind
from replicate_proxy.contracts.events import PredictionReport
from replicate_proxy.errors import ApiError, ProxyError, RetryableError
from replicate_proxy.jobs.model import TERMINAL_STATUSES
from replicate_proxy.replicate_api.rate_limit import RateLimit
from replicate_proxy.replicate_api.retry import retry_budget
from replicate_proxy.webhooks.commands import DeliverCommand
from tools.simulation.application import Applications
from tools.simulation.aws import InMemoryAws
from tools.simulation.functions.batches import build_batch_worker
from tools.simulation.functions.components import Components, Features
from tools.simulation.functions.deliveries import build_deliver
from tools.simulation.functions.dispatch import build_dispatch
from tools.simulation.functions.ingest import build_ingest
from tools.simulation.functions.reports import build_reports, build_webhook
from tools.simulation.functions.stream_consumers import build_notify, build_usage
from tools.simulation.functions.sweep import build_sweep
from tools.simulation.lambda_service import (
    AsynchronousFunction,
    EnvironmentPool,
    FailedReceive,
    FilteredShard,
    QueueSource,
    StreamSource,
    report_unexpected,
)
from tools.simulation.observation import (
    ConvertedRecords,
    Queues,
    has_due_entry,
    is_deletion_item,
    observe_writes,
    read_items,
    read_partition,
)
from tools.simulation.replicate import SimulatedReplicate
from tools.simulation.resources import BATCH_FUNCTION, STACK, Queue, Table
from tools.simulation.scheduler import ProcessEndedError, Scheduler

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from replicate_proxy.batches.worker import BatchWorker
    from replicate_proxy.jobs.model import Job
    from replicate_proxy.services.replicate_webhook import ReplicateWebhookHandler
    from tools.simulation.aws import Call
    from tools.simulation.faults import FaultPlan
    from tools.simulation.functions.ingest import Ingest
    from tools.simulation.functions.reports import Reports
    from tools.simulation.functions.stream_consumers import Notify, Usage
    from tools.simulation.functions.sweep import Sweep
    from tools.simulation.scheduler import Actor
    from tools.simulation.trace import Trace

# As in template.yaml
_TIMEOUTS = {
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
_API_TIMEOUT_SECONDS = 29.0
# Indexes that only operators read: their lag is the same for all entries.
_UNREAD_INDEXES = frozenset({"by_time", "by_outcome"})
_WEBHOOK_TIMEOUT_SECONDS = 10.0
_SWEEP_TIMEOUT_SECONDS = 55.0
_SWEEP_RESERVED = timedelta(seconds=8)
_SWEEP_SLACK = timedelta(seconds=10)
_BATCH_RESERVED = timedelta(seconds=20)
_DISPATCH_RESERVED_SECONDS = 5.0
_MINUTE = 60.0


class ServiceUnavailableError(Exception):
    """A request to the API ended with a 5xx or without a response. `is_known`: it was a 503 of our own."""

    def __init__(self, message: str, *, is_known: bool) -> None:
        super().__init__(message)
        self.is_known = is_known


class World:
    """One run's world. `observers` learn about checkpoints; invariants register there and on the services."""

    def __init__(
        self,
        scheduler: Scheduler,
        plan: FaultPlan,
        trace: Trace,
        *,
        counts_usage: bool = True,
        features: Features | None = None,
    ) -> None:
        self.features = features or Features()
        self.scheduler = scheduler
        self.plan = plan
        self.trace = trace
        self.metrics: Counter[str] = Counter()
        self.checkpoints: Counter[str] = Counter()
        self.on_checkpoint: list[Callable[[Actor, str], None]] = []
        self.on_failed_receive: list[Callable[[FailedReceive], None]] = []
        self._anomalies = AwsAnomalies(scheduler, plan)
        self.aws = InMemoryAws.from_template(lambda: scheduler.now, stack_name=STACK, choices=self._anomalies)
        self.aws.gate = self._pass_gate
        self.aws.events.on_pending = self._deliver_events_at
        self.aws.events.is_refused = lambda _: plan.is_out("sqs")
        self.queues = Queues(self.aws)
        self.replicate = SimulatedReplicate(scheduler, plan)
        self.applications = Applications(scheduler, plan)
        self.components = Components(
            aws=self.aws,
            scheduler=scheduler,
            replicate=self.replicate,
            plan=plan,
            sender=self.applications,
            checkpoint=self._pass_checkpoint,
            rate_limit=RateLimit(plan.creates_per_minute, plan.creates_burst),
            features=self.features,
        )
        self.clock = self.components.clock
        self.replicate.find_job = _find_submitted_job
        self.applications.find_secrets = self._find_signing_secrets
        self.applications.is_redelivery = self._is_redelivery
        self.replicate.receive_webhook = self._receive_webhook
        self._webhook_pool = self._build_pool(build_webhook)
        self._sweep_pool = self._build_pool(build_sweep)
        self._notify_pool = self._build_pool(build_notify)
        self._usage_pool = self._build_pool(build_usage)
        self._ingest_pool = self._build_pool(build_ingest)
        self.sweep_crashes: list[float] = []
        # What callers have read page by page
        self.reads: Counter[str] = Counter()
        self._calls: Counter[str] = Counter()
        self._jobs = ConvertedRecords(self.aws, Table.JOBS, _parse_job)
        # As they were when they were deleted
        self.deleted_jobs: dict[tuple[str, str], Job] = {}
        observe_writes(self.aws, self._note_deletion)
        self._connect_queues()
        self._connect_batches()
        self.streams = self._connect_streams()
        if counts_usage:
            self.streams += self._connect_usage()
        observe_writes(self.aws, self._poll_streams_after_write)
        self._started_at = scheduler.now
        scheduler.call_at(scheduler.now + _MINUTE, self._start_sweep)

    # Event sources

    def _connect_queues(self) -> None:
        self.sources = {
            Queue.DISPATCH: self._build_source(Queue.DISPATCH, "dispatch", build_dispatch, self._dispatch),
            Queue.BATCH_DISPATCH: self._build_source(
                Queue.BATCH_DISPATCH, "batch-dispatch", build_dispatch, self._dispatch
            ),
            Queue.TRACK: self._build_source(Queue.TRACK, "track", build_reports, self._track),
            Queue.HARVEST: self._build_source(Queue.HARVEST, "harvest", build_reports, self._harvest),
            Queue.NOTIFY: self._build_source(Queue.NOTIFY, "deliver", build_deliver, self._deliver),
        }

    def _connect_batches(self) -> None:
        self.batch_worker = AsynchronousFunction(
            scheduler=self.scheduler,
            function="batch",
            pool=self._build_pool(build_batch_worker),
            handle=self._work_on_batches,
            timeout_seconds=_TIMEOUTS["batch"],
            draw_delays=self._anomalies.invocation_delays,
        )
        self.aws.functions.register(BATCH_FUNCTION, lambda _event: None)
        self.aws.functions.on_asynchronous = self.batch_worker.accept
        # The parts of results are small, too.
        self.aws.s3.min_part_bytes = 1

    def _build_pool(self, build: Callable[[Components], Any]) -> EnvironmentPool:
        return EnvironmentPool(partial(build, self.components), reuses=self.plan.reuses_environments)

    def poll_soon(self) -> None:
        """Let the event sources look for messages: something was sent."""
        for source in self.sources.values():
            source.schedule_poll()

    def _deliver_events_at(self, when: float) -> None:
        self.scheduler.call_at(when, self._deliver_events)

    def _deliver_events(self) -> None:
        self.aws.events.deliver_due()
        self.poll_soon()

    def _pass_gate(self, call: Call, perform: Callable[[], Any]) -> Any:
        if call.service != "sqs" or not call.is_write:
            return self.plan.pass_gate(call, perform)
        try:
            return self.plan.pass_gate(call, perform)
        finally:
            self.poll_soon()

    def _build_source(
        self,
        queue: Queue,
        function: str,
        build: Callable[[Components], Any],
        handle: Callable[[Any, str], None],
    ) -> QueueSource:
        return QueueSource(
            scheduler=self.scheduler,
            queues=self.queues,
            queue=queue,
            function=function,
            pool=self._build_pool(build),
            handle=handle,
            timeout_seconds=_TIMEOUTS[function],
            batch_size=_BATCH_SIZES.get(function, 1),
            max_concurrency=_CONCURRENCY[function],
            on_failed_receive=self._report_failed_receive,
        )

    def _report_failed_receive(self, failed: FailedReceive) -> None:
        for observer in self.on_failed_receive:
            observer(failed)

    def _connect_streams(self) -> list[StreamSource]:
        stream = self.aws.dynamodb.stream(Table.JOBS)
        stream.has_empty_page = self._anomalies.has_empty_page
        shard_ids = list(stream.shards)
        return [
            StreamSource(
                scheduler=self.scheduler,
                function="notify",
                shard_id=shard_id,
                stream_arn=stream.arn,
                read=partial(stream.read, shard_id),
                pool=self._notify_pool,
                handle=self._notify,
                timeout_seconds=_TIMEOUTS["notify"],
                send_dead_letter=self._send_stream_dead_letter,
            )
            for shard_id in shard_ids
        ]

    def _connect_usage(self) -> list[StreamSource]:
        """Return the sources of the usage function, whose filter lets only ends of jobs through."""
        stream = self.aws.dynamodb.stream(Table.JOBS)
        return [
            StreamSource(
                scheduler=self.scheduler,
                function="usage",
                shard_id=shard_id,
                stream_arn=stream.arn,
                read=FilteredShard(partial(stream.read, shard_id), _shows_ended_job).read,
                pool=self._usage_pool,
                handle=self._count_usage,
                timeout_seconds=_TIMEOUTS["usage"],
                send_dead_letter=self._send_stream_dead_letter,
                batch_size=100,
            )
            for shard_id in list(stream.shards)
        ]

    def _poll_streams_after_write(self, table: str, *_images: object) -> None:
        if table == Table.JOBS:
            self.scheduler.call_at(self.scheduler.now + self.plan.propagation_seconds, self._poll_streams)

    def _poll_streams(self) -> None:
        for source in self.streams:
            source.poll()

    def _send_stream_dead_letter(self, body: str) -> None:
        self.queues.send(f"{STACK}-notify-stream-dead-letters", body)

    # Handlers, as in functions/*/app.py

    def _dispatch(self, dispatcher: Any, body: str) -> None:
        command = DispatchCommand.from_json(body)
        actor = self.scheduler.actor
        actor.notes["job"] = (command.tenant, command.job_id)
        with retry_budget(self._seconds_left() - _DISPATCH_RESERVED_SECONDS):
            dispatcher.handle_command(command)

    def _track(self, reports: Reports, body: str) -> None:
        reports.tracker.track_report(reports.loader.load(PredictionReport.from_queue_message(body)))

    def _harvest(self, reports: Reports, body: str) -> None:
        report = reports.loader.load(PredictionReport.from_queue_message(body))
        actor = self.scheduler.actor
        actor.notes["job"] = (report.tenant, report.job_id)
        reports.harvester.harvest_job(report, self.clock.now() + self._calculate_time_left())

    def _deliver(self, deliverer: Any, body: str) -> None:
        deliverer.deliver(DeliverCommand.from_json(body))

    def _work_on_batches(self, worker: BatchWorker) -> None:
        worker.run(self.clock.now() + timedelta(seconds=self._seconds_left()) - _BATCH_RESERVED)

    def _notify(self, notify: Notify, records: Sequence[Mapping[str, Any]]) -> int | None:
        changes, indexes = [], []
        for index, record in enumerate(records):
            change = job_change_from_stream_record(record)
            if change is not None:
                changes.append(change)
                indexes.append(index)
        failed = notify.handler.handle(changes)
        return None if failed is None else indexes[failed]

    def _count_usage(self, usage: Usage, records: Sequence[Mapping[str, Any]]) -> int | None:
        changes = [change for record in records if (change := job_change_from_stream_record(record))]
        return usage.counter.count(changes)

    def replay_stream_batch(self, dead_letter: Mapping[str, Any]) -> None:
        """Invoke the consumer that gave up a batch with its dead letter, as an operator does."""
        function = dead_letter["requestContext"]["functionArn"]
        pool = self._usage_pool if function == "usage" else self._notify_pool
        environment = pool.take()
        try:
            environment.replayer.replay(dead_letter)
        finally:
            pool.give_back(environment, is_crashed=False)

    # Sweep

    def _start_sweep(self) -> None:
        """Start the sweep of this minute, named by it, unless nothing is due: it would read empty indexes."""
        self.scheduler.call_at(self.scheduler.now + _MINUTE, self._start_sweep)
        self.aws.dynamodb.expire()
        if not self._is_anything_due():
            return
        environment = self._sweep_pool.take()

        def on_end(actor: Actor, error: BaseException | None) -> None:
            self._sweep_pool.give_back(environment, is_crashed=error is not None)
            report_unexpected(self.scheduler, actor, error)
            if error is not None:
                self.sweep_crashes.append(self.scheduler.now)

        minute = round((self.scheduler.now - self._started_at) / _MINUTE)
        self.scheduler.spawn(
            f"sweep-{minute}",
            lambda: self._sweep(environment),
            timeout_seconds=_SWEEP_TIMEOUT_SECONDS,
            on_end=on_end,
        )

    def _sweep(self, sweep: Sweep) -> None:
        now = self.clock.now()
        end = now + timedelta(seconds=self._seconds_left())
        deadline = end - _SWEEP_RESERVED
        with sweep.lease.hold(until=end) as is_free:
            if not is_free:
                return
            if sweep.start_batches is not None:
                sweep.start_batches()
            try:
                sweep.deliveries.enqueue_due(now, min(deadline, now + timedelta(seconds=12)))
            finally:
                try:
                    if sweep.slots is not None:
                        sweep.slots.run(min(deadline, self.clock.now() + timedelta(seconds=8)))
                finally:
                    try:
                        sweep.jobs.sweep_jobs(deadline)
                    finally:
                        if sweep.deletions is not None:
                            sweep.deletions.delete_jobs(deadline)

    def _is_anything_due(self) -> bool:
        """Return whether a sweep would find work, as far as it does not begin while it runs."""
        soon = self.clock.now() + _SWEEP_SLACK
        # Deliveries are enqueued up to a minute early.
        next_minute = format_timestamp(soon + timedelta(seconds=_MINUTE))
        return (
            has_due_entry(self.aws, Table.JOBS, "by_due", before=format_timestamp(soon))
            or has_due_entry(self.aws, Table.DELIVERIES, "by_due", before=next_minute)
            or self._has_due_batch(soon)
            or self._has_line()
        )

    def _has_due_batch(self, before: datetime) -> bool:
        if not self.features.has_batches:
            return False
        marks = self.aws.dynamodb.tables[Table.JOBS].read_partition("BATCHES#DUE")
        return any(mark["sk"]["S"] < format_timestamp(before) for mark in marks)

    def _has_line(self) -> bool:
        """Return whether jobs may be waiting for a slot."""
        records = read_items(self.aws, Table.CONTROL) if self.features.has_limits else ()
        return any(record.get("line_names") for record in records)

    # Requests

    def call_api[T](self, function: Callable[[Ingest], T]) -> T:
        """Call the ingest function from the current actor.

        Raises ServiceUnavailableError for a 5xx, and ApiError for a 4xx.
        """
        environment = self._ingest_pool.take()
        self._calls["ingest"] += 1
        is_crashed = False
        try:
            return self.scheduler.call_process(
                f"ingest-{self._calls['ingest']}",
                lambda: function(environment),
                timeout_seconds=_API_TIMEOUT_SECONDS,
            )
        except ProcessEndedError as error:
            is_crashed = True
            raise ServiceUnavailableError("no response", is_known=False) from error
        except ApiError:
            raise
        except ProxyError as error:
            raise ServiceUnavailableError(str(error), is_known=isinstance(error, RetryableError)) from error
        finally:
            self._ingest_pool.give_back(environment, is_crashed=is_crashed)

    def call_function[T](self, name: str, function: Callable[[], T]) -> T:
        """Run something as a request of its own: an operator's or an owner's call."""
        self._calls[name] += 1
        return self.scheduler.call_process(
            f"{name}-{self._calls[name]}", function, timeout_seconds=_API_TIMEOUT_SECONDS
        )

    def _receive_webhook(self, url: str, headers: Mapping[str, str], body: bytes) -> int:
        query = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        handler: ReplicateWebhookHandler = self._webhook_pool.take()
        self._calls["webhook"] += 1
        is_crashed = False
        status = 200
        try:
            self.scheduler.call_process(
                f"webhook-call-{self._calls['webhook']}",
                lambda: handler.handle_webhook(headers, query, body),
                timeout_seconds=_WEBHOOK_TIMEOUT_SECONDS,
            )
        except ProcessEndedError:
            is_crashed = True
            status = 502
        except ApiError as error:
            status = error.status
        except ProxyError:
            status = 503
        self._webhook_pool.give_back(handler, is_crashed=is_crashed)
        return status

    # Ground truth, read without passing the gate

    def read_jobs(self) -> list[Job]:
        """Return every job, deleted ones as they were before that."""
        return [*self._jobs.read(), *self.deleted_jobs.values()]

    def read_stored_jobs(self) -> list[Job]:
        """Return every job that is not deleted."""
        return self._jobs.read()

    def _note_deletion(
        self, table: str, old: Mapping[str, Any] | None, new: Mapping[str, Any] | None
    ) -> None:
        if table != Table.JOBS or old is None or not is_deletion_item(new):
            return
        if not is_deletion_item(old):
            job = job_from_record(from_item(old))
            self.deleted_jobs[job.tenant, job.id] = job

    def is_large_batch(self, tenant: str, name: str) -> bool:
        """Return whether a batch has this ID."""
        return any(
            "large" in record
            for record in read_partition(
                self.aws, Table.JOBS, batch_key(tenant, name)["pk"], sk_prefix="BATCH"
            )
        )

    def _find_signing_secrets(self, url: str) -> tuple[str, ...]:
        """Return the secrets that the owner of a receiver knows: those that are stored now."""
        tenant = url.removeprefix("https://").partition(".")[0]
        kind = "ENDPOINT#" if url.endswith("/endpoint") else "SECRET"
        return tuple(
            secret["text"]
            for record in read_partition(self.aws, Table.DELIVERIES, tenant_pk(tenant), sk_prefix=kind)
            for secret in record["secrets"]
        )

    def find_endpoint(self, tenant: str, endpoint_id: str) -> Mapping[str, Any] | None:
        """Return the stored record of an endpoint."""
        sk = f"ENDPOINT#{endpoint_id}"
        records = read_partition(self.aws, Table.DELIVERIES, tenant_pk(tenant), sk_prefix=sk)
        return next((record for record in records if record["sk"] == sk), None)

    def _is_redelivery(self, url: str, headers: Mapping[str, str], prediction: Mapping[str, object]) -> bool:
        tenant = url.removeprefix("https://").partition(".")[0]
        partition = job_pk(tenant, str(prediction["id"]))
        return any(
            record["schedule_started_at"] != record["created_at"]
            for record in read_partition(self.aws, Table.DELIVERIES, partition, sk_prefix="DELIVERY#")
            if record["message_id"] == headers["webhook-id"]
        )

    def is_at_rest(self) -> bool:
        """Return whether no work is left: no job or delivery to check, no message, no stream record."""
        # Ended jobs are in the index by the end of their retention.
        before_retention_ends = self.clock.now() + timedelta(days=self.components.timeouts.retention_days / 2)
        return (
            not has_due_entry(self.aws, Table.JOBS, "by_due", before=format_timestamp(before_retention_ends))
            and not has_due_entry(self.aws, Table.DELIVERIES, "by_due", before="9")
            and not self._has_due_batch(before_retention_ends)
            and not self._has_line()
            and not any(self.queues.count(queue) for queue in Queue)
            and not any(source.has_backlog for source in self.streams)
        )

    def send_cancel(self, job: Job) -> None:
        """Send a cancel command as the sweep does."""
        with suppress(ProxyError):
            self.components.dispatch_queue.send(DispatchCommand.for_job(DispatchKind.CANCEL, job))

    def _seconds_left(self) -> float:
        actor = self.scheduler.actor
        return actor.process.deadline - self.scheduler.now

    def _calculate_time_left(self) -> timedelta:
        actor = self.scheduler.actor
        return timedelta(seconds=actor.process.deadline - self.clock.now().timestamp())

    def _pass_checkpoint(self, name: str) -> None:
        self.checkpoints[name] += 1
        actor = self.scheduler.current
        if actor is not None:
            for observer in self.on_checkpoint:
                observer(actor, name)


class AwsAnomalies:
    """What AWS may do beyond faults: lagging indexes, stale reads, duplicates, delays."""

    def __init__(self, scheduler: Scheduler, plan: FaultPlan) -> None:
        self._scheduler = scheduler
        self._plan = plan

    def index_lag(self, table: str, index: str) -> float:
        if index in _UNREAD_INDEXES:
            return self._plan.propagation_seconds
        choice = self._choose(self._plan.mix.indexes, "index")
        if choice == "late":
            return self._draw(1.0, 5.0)
        return self._draw(5.0, 90.0) if choice == "very_late" else self._plan.propagation_seconds

    def stale_read(self, table: str) -> bool:
        return bool(self._choose(self._plan.mix.indexes, "read"))

    def unprocessed_keys(self, table: str, count: int) -> int:
        return count // 2 if self._choose(self._plan.mix.indexes, "batch read") else 0

    def has_empty_page(self, table: str) -> bool:
        """Return whether reading a stream gives an empty page before the records."""
        return bool(self._choose(self._plan.mix.streams, "stream"))

    def queue_delivery(self, queue: str) -> int:
        return 2 if self._choose(self._plan.mix.messages, "queue") == "twice" else 1

    def bus_delivery(self, queue: str) -> int:
        return 2 if self._choose(self._plan.mix.messages, "bus") == "twice" else 1

    def bus_delay(self, queue: str) -> float:
        choice = self._choose(self._plan.mix.messages, "bus")
        if choice == "late":
            return self._draw(1.0, 30.0)
        return self._draw(30.0, 900.0) if choice == "very_late" else self._plan.propagation_seconds

    def invocation_delays(self) -> Sequence[float]:
        """Return after how many seconds an asynchronous invocation reaches its function each time.

        One that waits for longer than the MaximumEventAgeInSeconds of template.yaml is discarded.
        """
        choice = self._choose(self._plan.mix.invocations, "invocation")
        soon = self._plan.propagation_seconds
        if choice == "lost":
            return ()
        if choice == "twice":
            return soon, self._plan.draw_repetition_delay(self._scheduler.actor)
        return (self._draw(1.0, _MINUTE) if choice == "late" else soon,)

    def _choose(self, rates: Any, kind: str) -> str:
        actor = self._scheduler.current
        return "" if actor is None else self._plan.choose(actor, rates, kind=kind)

    def _draw(self, low: float, high: float) -> float:
        actor = self._scheduler.actor
        return actor.random.uniform(low, high)


def _parse_job(record: Mapping[str, Any]) -> Job | None:
    return job_from_record(record) if record["sk"] == "JOB" and not is_deletion(record) else None


def _shows_ended_job(record: Mapping[str, Any]) -> bool:
    change = record["dynamodb"]
    image = change.get("NewImage", {})
    return change["Keys"]["sk"]["S"] == "JOB" and image.get("status", {}).get("S") in TERMINAL_STATUSES


def _find_submitted_job(actor: Actor, _body: Mapping[str, Any]) -> tuple[str, str]:
    job: tuple[str, str] = actor.process.notes["job"]
    return job
