"""The whole pipeline in one process, on a clock that moves: queues with delays, a bus, Replicate, crashes.

Messages are at-least-once and come in any order, as on SQS; a handler that dies leaves its message for later.
"""

from __future__ import annotations

import itertools
import json
import random
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from replicate_proxy import signing
from replicate_proxy.auth.principal import Principal
from replicate_proxy.contracts.events import Event, PredictionReport
from replicate_proxy.errors import ProxyError, RetryableError
from replicate_proxy.images.options import ImageOptions
from replicate_proxy.jobs.model import Job, Submission, SubmissionKind
from replicate_proxy.jobs.timeouts import JobTimeouts
from replicate_proxy.jobs.updater import JobUpdater
from replicate_proxy.outputs.records import FileOutcome, FileRecord, HarvestResult
from replicate_proxy.replicate_api.callback_url import CallbackUrls
from replicate_proxy.services.batches import BatchService
from replicate_proxy.services.cancel import JobCanceler
from replicate_proxy.services.dispatch import Dispatcher
from replicate_proxy.services.harvest import JobHarvester, build_continuation_event
from replicate_proxy.services.ingest import CreateResult, JobCreator, JobFactory, JobRequest
from replicate_proxy.services.reconcile import Reconciler
from replicate_proxy.services.replicate_webhook import ReplicateWebhookHandler
from replicate_proxy.services.reports import ReportLoader, ReportPublisher
from replicate_proxy.services.resolve_submission import SubmissionResolver
from replicate_proxy.services.sweep import Sweeper
from replicate_proxy.services.track import Tracker
from replicate_proxy.services.wait import JobWaiter
from tests.support.builders import BASE_URL, TENANT, VERSION
from tests.support.clock import FakeClock
from tests.support.fakes import (
    FakeBatchStore,
    FakeDocumentStore,
    FakeIdempotencyStore,
    FakeJobStore,
    Faults,
    build_queue_body,
)
from tests.support.replicate import FakeReplicate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from replicate_proxy.contracts.commands import DispatchCommand
    from replicate_proxy.services.check_outcome import CheckOutcome

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
PRINCIPAL = Principal(TENANT, "key-1", frozenset({"predictions:read", "predictions:write"}))


class Crash(BaseException):
    """The process is gone between two lines; nothing catches it, as nothing would."""


@dataclass(order=True)
class Message:
    due_seconds: float
    number: int
    handle: Callable[[], None] = field(compare=False)
    receive_count: int = field(default=0, compare=False)


class World:
    """`chance(name)` says whether the fault of that name happens this time."""

    def __init__(
        self,
        *,
        timeouts: JobTimeouts | None = None,
        fault_occurs: Callable[[str], bool] = lambda _: False,
        echoes_webhook: bool = False,
        seed: int = 0,
    ) -> None:
        self.random = random.Random(seed)
        self.fault_occurs = fault_occurs
        self.timeouts = timeouts or JobTimeouts()
        self.clock = FakeClock()
        self.started_at = self.clock.now()
        self.store = FakeJobStore()
        self.documents = FakeDocumentStore()
        self.replicate = FakeReplicate(self.clock, echoes_webhook=echoes_webhook)
        self.output_harvester = FakeOutputHarvester()
        self.messages: list[Message] = []
        self.dead_letters: list[Message] = []
        self._numbers = itertools.count(1)
        self._wire()

    def _wire(self) -> None:
        self.updater = JobUpdater(self.store, self.clock, self.timeouts)
        self.urls = CallbackUrls("https://hooks.test", b"root")
        publisher = ReportPublisher(self, self.documents)
        self.report_loader = ReportLoader(self.documents)
        self.webhook_handler = ReplicateWebhookHandler(
            secrets=lambda _: [SECRET], urls=self.urls, reports=publisher, clock=self.clock
        )
        self.idempotency = FakeIdempotencyStore()
        self.job_factory = JobFactory(self.documents, self.FakeDispatchQueue(self), self.timeouts)
        self.job_creator = JobCreator(
            store=self.store, idempotency=self.idempotency, intake=self.job_factory, clock=self.clock
        )
        self.dispatcher = Dispatcher(
            updater=self.updater,
            store=self.store,
            documents=self.documents,
            queue=self.FakeDispatchQueue(self),
            predictions=self.replicate,
            urls=self.urls,
            clock=self.clock,
            timeouts=self.timeouts,
            checkpoint=self.checkpoint,
        )
        self.tracker = Tracker(
            updater=self.updater,
            documents=self.documents,
            queue=self.FakeDispatchQueue(self),
        )
        self.harvester = JobHarvester(
            updater=self.updater,
            documents=self.documents,
            output_harvester=self.output_harvester,
            queue=self.FakeHarvestQueue(self),
            clock=self.clock,
            default_image_options=lambda _: ImageOptions(),
            checkpoint=self.checkpoint,
        )
        hold = JobWaiter(self.store, self.clock, lambda _: None, max_wait_seconds=0)
        self.canceler = JobCanceler(self.updater, self.FakeDispatchQueue(self), hold)
        self.batch_store = FakeBatchStore(self.store)
        self.batch_service = BatchService(
            store=self.batch_store,
            idempotency=self.idempotency,
            intake=self.job_factory,
            cancel=self.canceler,
            clock=self.clock,
            checkpoint=self.checkpoint,
        )
        self.sweeper = self._build_sweeper(publisher)

    def _build_sweeper(self, publisher: ReportPublisher) -> Sweeper:
        resolver = SubmissionResolver(
            updater=self.updater,
            store=self.store,
            documents=self.documents,
            queue=self.FakeDispatchQueue(self),
            lister=self.replicate,
            urls=self.urls,
            clock=self.clock,
            timeouts=self.timeouts,
            checkpoint=self.checkpoint,
        )
        reconciler = Reconciler(
            updater=self.updater,
            documents=self.documents,
            queue=self.FakeDispatchQueue(self),
            reports=publisher,
            reader=self.replicate,
            resolver=resolver,
            resume_harvest=lambda job: self.enqueue_event(build_continuation_event(job, self.clock.now())),
            clock=self.clock,
            timeouts=self.timeouts,
        )
        return Sweeper(
            store=self.store, handlers=reconciler.build_handlers(), clock=self.clock, sleep=self.clock.sleep
        )

    # The queues.

    @dataclass
    class FakeDispatchQueue:
        world: World

        def send(self, command: DispatchCommand, *, delay_seconds: float = 0) -> None:
            self.world.raise_fault("queue.failed")
            if self.world.fault_occurs("queue.lost"):
                return
            for _ in range(2 if self.world.fault_occurs("queue.twice") else 1):
                self.world.enqueue(lambda: self.world.dispatcher.handle(command), delay_seconds)

    @dataclass
    class FakeHarvestQueue:
        world: World

        def send(self, event: Event, *, tenant: str, delay_seconds: float = 0) -> None:
            self.world.enqueue_event(event, delay_seconds)

    def publish(self, events: Sequence[Event]) -> None:
        """The bus: the rules put succeeded predictions on the harvest queue, all else on the track queue."""
        self.raise_fault("bus.failed")
        for event in events:
            self.enqueue_event(event)

    def enqueue_event(self, event: Event, delay_seconds: float = 0) -> None:
        if self.fault_occurs("queue.lost"):
            return
        report = PredictionReport.from_queue_message(build_queue_body(event))
        for _ in range(2 if self.fault_occurs("queue.twice") else 1):
            self.enqueue(lambda: self._receive(report), delay_seconds)

    def _receive(self, report: PredictionReport) -> None:
        report = self.report_loader.load(report)
        if report.status == "succeeded":
            self.harvester.harvest_job(report, self.clock.now() + timedelta(seconds=300))
        else:
            self.tracker.track_report(report)

    def enqueue(self, run: Callable[[], None], delay_seconds: float = 0) -> None:
        jitter = self.random.random() if self.fault_occurs("reordered") else 0
        due = self.elapsed_seconds + delay_seconds + jitter * 30
        self.messages.append(Message(due, next(self._numbers), run))

    # Faults.

    def checkpoint(self, name: str) -> None:
        if self.fault_occurs(f"crash.{name}"):
            raise Crash(name)

    def raise_fault(self, name: str) -> None:
        if self.fault_occurs(name):
            raise RetryableError(name)

    # Time.

    @property
    def elapsed_seconds(self) -> float:
        return (self.clock.now() - self.started_at).total_seconds()

    def accept_job(self, prompt: str = "a cat", **fields: Any) -> CreateResult:
        new = JobRequest(
            submission=Submission(kind=SubmissionKind.VERSION, version=VERSION),
            input={"prompt": prompt},
            base_url=BASE_URL,
            correlation_id="c-1",
            **fields,
        )
        return self.job_creator.create(new, PRINCIPAL)

    def handle_due_messages(self) -> int:
        """Handles every message that is due; gives back how many there were."""
        due = sorted(message for message in self.messages if message.due_seconds <= self.elapsed_seconds)
        self.messages = [message for message in self.messages if message.due_seconds > self.elapsed_seconds]
        for message in due:
            self._handle(message)
        return len(due)

    def _handle(self, message: Message) -> None:
        try:
            message.handle()
        except (Crash, ProxyError):
            message.receive_count += 1
            message.due_seconds = self.elapsed_seconds + 360
            (self.messages if message.receive_count < 5 else self.dead_letters).append(message)

    def drain_messages(self) -> None:
        """Handles messages until none is due."""
        for _ in range(1000):
            if not self.handle_due_messages():
                return
        raise AssertionError("messages go round in circles")

    def run_sweep(self) -> Mapping[CheckOutcome, int]:
        try:
            return self.sweeper.sweep_jobs(self.clock.now() + timedelta(seconds=50)).outcomes
        except Crash:
            return {}

    def pass_time(self, seconds: float, *, step: float = 30) -> None:
        """Lets time go by: messages, then the sweep of the minute."""
        for _ in range(int(seconds // step)):
            self.clock.advance(step)
            self.drain_messages()
            self.run_sweep()
            self.drain_messages()

    # Replicate's side.

    def send_webhook(self, prediction_id: str) -> None:
        """Replicate tells what became of the prediction, signed, on the URL it was given."""
        url = self.replicate.webhooks[prediction_id]
        query = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        body = json.dumps(self.replicate.predictions[prediction_id]).encode()
        message_id = f"msg_{next(self._numbers)}"
        sent_at = int(self.clock.now().timestamp())
        headers = {
            "webhook-id": message_id,
            "webhook-timestamp": str(sent_at),
            "webhook-signature": signing.sign_webhook([SECRET], message_id, sent_at, body),
        }
        with suppress(RetryableError):
            self.webhook_handler.handle_webhook(headers, query, body)

    def get_job(self, job: Job) -> Job:
        return self.store.jobs[job.tenant, job.id]


class FakeOutputHarvester:
    """Returns the queued `results`, then a result of one stored file; records the earlier records it gets."""

    def __init__(self) -> None:
        self.faults = Faults()
        self.results: list[HarvestResult] = []
        self.calls: list[tuple[FileRecord, ...]] = []

    def harvest(self, *, earlier_records: tuple[FileRecord, ...] = (), **given: Any) -> HarvestResult:
        self.calls.append(earlier_records)
        self.faults.raise_planned("harvest")
        if self.results:
            return self.results.pop(0)
        url = f"https://outputs.test/{given['job_id']}.webp"
        return HarvestResult(output=[url], records=(FileRecord((0,), FileOutcome.STORED, url),))
