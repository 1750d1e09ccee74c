"""The whole pipeline in one process, with fakes for the queues, the bus and Replicate.

For unit tests that need the services together, one handler at a time. Time passes only when a test advances
the clock. A handler that fails leaves its message to be received again. Interleavings and random faults are
the subject of `tools.simulation`.
"""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from replicate_proxy import signing
from replicate_proxy.auth.principal import Principal
from replicate_proxy.aws.budget_store import DynamoBudgetedJobs
from replicate_proxy.aws.deletion_store import DynamoDeletionStore
from replicate_proxy.aws.idempotency_store import DynamoIdempotencyStore
from replicate_proxy.aws.usage_store import DynamoBatchCounts
from replicate_proxy.contracts.commands import DispatchCommand, DispatchKind
from replicate_proxy.contracts.events import Event, PredictionReport
from replicate_proxy.contracts.stream_urls import StreamUrlBuilder
from replicate_proxy.deletion.deleter import JobDeleter
from replicate_proxy.errors import ProxyError, RetryableError
from replicate_proxy.images.options import ImageOptions
from replicate_proxy.jobs.model import SHARED_ACCOUNT, Account, Job, JobStatus, Submission, SubmissionKind
from replicate_proxy.jobs.timeouts import JobTimeouts
from replicate_proxy.jobs.updater import JobUpdater
from replicate_proxy.pauses.pause import PauseSwitch
from replicate_proxy.replicate_api.callback_url import CallbackUrls
from replicate_proxy.services.batches import BatchService
from replicate_proxy.services.cancel import JobCanceler
from replicate_proxy.services.dispatch import Dispatcher
from replicate_proxy.services.harvest import JobHarvester, build_continuation_event
from replicate_proxy.services.ingest import CreateResult, JobCreator, JobFactory, JobRequest
from replicate_proxy.services.input_check import InputChecker
from replicate_proxy.services.job_log import log_job_change
from replicate_proxy.services.job_metrics import record_job_end
from replicate_proxy.services.progress_refresh import ProgressRefresher
from replicate_proxy.services.reconcile import Reconciler
from replicate_proxy.services.replicate_webhook import ReplicateWebhookHandler
from replicate_proxy.services.reports import ReportLoader, ReportPublisher
from replicate_proxy.services.resolve_submission import SubmissionResolver
from replicate_proxy.services.stream_urls import KnownStreams
from replicate_proxy.services.sweep import Sweeper
from replicate_proxy.services.track import Tracker
from replicate_proxy.services.wait import JobWaiter
from tests.support.aws import JOBS_TABLE, USAGE_TABLE
from tests.support.builders import BASE_URL, TENANT, VERSION, make_job
from tests.support.clock import FakeClock
from tests.support.fakes import FakeDocumentStore, build_queue_body
from tests.support.job_stores import InMemoryBatchStore, InMemoryJobStore
from tests.support.pauses import FakePauseStore
from tests.support.pipeline_fakes import (
    FakeBatchLimiter,
    FakeDispatchQueue,
    FakeHarvestQueue,
    FakeOutputHarvester,
    FakeRefreshLimiter,
    FakeStreamDirectory,
)
from tests.support.replicate import FakeReplicate
from tests.support.schemas import FakeSchemas
from tests.support.usage import build_budget_gate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from replicate_proxy.services.check_outcome import CheckOutcome
    from replicate_proxy.services.sweep import CheckHandler

OUTPUTS_URL = "https://outputs.test"
STREAM_HOST_URL = "https://stream.replicate.test"
STREAM_KEY = b"the key of stream URLs"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
PRINCIPAL = Principal(TENANT, "key-1", frozenset({"predictions:read", "predictions:write"}))

# As the queues are configured: six times the functions' timeout, and then a dead letter.
_VISIBILITY_TIMEOUT_SECONDS = 360
_MAX_RECEIVE_COUNT = 5


class Crash(BaseException):
    """The process ended at a checkpoint. Not an Exception, so that no handler can catch it."""


def crash_once_at(checkpoint: str) -> Callable[[str], bool]:
    """Return a `fault_occurs` that crashes the process at the checkpoint, the first time only."""
    crashes = iter([True])
    return lambda name: name == f"crash.{checkpoint}" and next(crashes, False)


@dataclass(order=True)
class Message:
    """A queue message: its handling, and when it is due, in seconds since the start of the test."""

    due_seconds: float
    number: int
    handle: Callable[[], None] = field(compare=False)
    receive_count: int = field(default=0, compare=False)


class Pipeline:
    """The pipeline and its surroundings; `fault_occurs(name)` decides whether the named fault occurs now."""

    def __init__(
        self,
        *,
        timeouts: JobTimeouts | None = None,
        fault_occurs: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self.fault_occurs = fault_occurs
        self.timeouts = timeouts or JobTimeouts()
        self.clock = FakeClock()
        self.started_at = self.clock.now()
        self.store = InMemoryJobStore()
        self.documents = FakeDocumentStore()
        self.replicate = FakeReplicate(self.clock)
        # The tenants that have an account of their own, by name, and what Replicate has there.
        self.own_accounts: dict[str, str] = {}
        self.own_replicates: defaultdict[Account, FakeReplicate] = defaultdict(
            lambda: FakeReplicate(self.clock)
        )
        self.output_harvester = FakeOutputHarvester()
        self.queue = FakeDispatchQueue(self)
        self.messages: list[Message] = []
        self.dead_letters: list[Message] = []
        self._message_numbers = itertools.count(1)
        self.urls = CallbackUrls("https://hooks.test", b"root")
        self.is_start_wanted = True
        self.updater = JobUpdater(
            self.store, self.clock, self.timeouts, on_changed=log_job_change, on_ended=record_job_end
        )
        self.known_models = FakeStreamDirectory()
        self.streams = KnownStreams(self.known_models, lambda: STREAM_KEY)
        self.pauses = FakePauseStore()
        self.pause_switch = PauseSwitch(self.pauses, monotonic=self.clock.monotonic)
        self.schemas = FakeSchemas()
        self._build_ingest()
        self._build_pipeline()
        self.bugs: list[Exception] = []
        self.sweeper = self._build_sweeper()

    def _build_ingest(self) -> None:
        self.idempotency = DynamoIdempotencyStore(self.store.dynamodb, JOBS_TABLE)
        self.job_factory = JobFactory(self.documents, self.timeouts, self.streams.find_url)
        budgeted_jobs = DynamoBudgetedJobs(self.store.dynamodb, USAGE_TABLE, JOBS_TABLE)
        budgets = build_budget_gate(budgeted_jobs, self.clock)
        self.job_creator = JobCreator(
            store=self.store,
            idempotency=self.idempotency,
            factory=self.job_factory,
            queue=self.queue,
            clock=self.clock,
            budgets=budgets,
            check_input=InputChecker(self.schemas).check,
        )
        waiter = JobWaiter(self.store, self.clock, lambda _: None, max_wait_seconds=0)
        self.canceler = JobCanceler(self.updater, self.queue, waiter)
        self.batch_store = InMemoryBatchStore(self.store)
        deletions = DynamoDeletionStore(self.store.dynamodb, JOBS_TABLE, self.batch_store)
        self.deleter = JobDeleter(deletions, self.clock)
        self.batch_counts = DynamoBatchCounts(self.store.dynamodb, USAGE_TABLE)
        self.batch_limiter = FakeBatchLimiter()
        self.batch_service = BatchService(
            store=self.batch_store,
            idempotency=self.idempotency,
            factory=self.job_factory,
            queue=self.queue,
            canceler=self.canceler,
            limiter=self.batch_limiter,
            clock=self.clock,
            budgets=budgets,
            counts=self.batch_counts,
            check_input=InputChecker(self.schemas).check,
            checkpoint=self.checkpoint,
        )

    def _build_pipeline(self) -> None:
        self.report_publisher = ReportPublisher(self, self.documents)
        self.report_loader = ReportLoader(self.documents)
        self.refresh_limiter = FakeRefreshLimiter()
        self.dispatcher = Dispatcher(
            refresher=ProgressRefresher(
                self.get_replicate, lambda _: self.refresh_limiter, self.report_publisher, self.clock
            ),
            updater=self.updater,
            documents=self.documents,
            queue=self.queue,
            get_client=self.get_replicate,
            find_account=self.find_account,
            is_start_wanted=lambda _: self.is_start_wanted,
            urls=self.urls,
            clock=self.clock,
            timeouts=self.timeouts,
            known_models=self.known_models,
            streams=StreamUrlBuilder(OUTPUTS_URL, STREAM_HOST_URL, STREAM_KEY),
            find_pause=self.pause_switch.find,
            checkpoint=self.checkpoint,
        )
        self.webhook_handler = ReplicateWebhookHandler(
            secrets=lambda _account, _refresh: [SECRET],
            urls=self.urls,
            reports=self.report_publisher,
            clock=self.clock,
        )
        self.tracker = Tracker(updater=self.updater, documents=self.documents, queue=self.queue)
        self.harvester = JobHarvester(
            updater=self.updater,
            documents=self.documents,
            output_harvester=self.output_harvester,
            queue=FakeHarvestQueue(self),
            clock=self.clock,
            default_image_options=lambda _: ImageOptions(),
            checkpoint=self.checkpoint,
        )

    def _build_sweeper(self) -> Sweeper:
        resolver = SubmissionResolver(
            updater=self.updater,
            store=self.store,
            documents=self.documents,
            queue=self.queue,
            get_lister=self.get_replicate,
            urls=self.urls,
            clock=self.clock,
            timeouts=self.timeouts,
            checkpoint=self.checkpoint,
        )
        reconciler = Reconciler(
            updater=self.updater,
            documents=self.documents,
            queue=self.queue,
            reports=self.report_publisher,
            get_reader=self.get_replicate,
            resolver=resolver,
            resume_harvest=lambda job: self.enqueue_event(build_continuation_event(job, self.clock.now())),
            clock=self.clock,
            timeouts=self.timeouts,
        )
        handlers = reconciler.build_handlers()
        self.check_handlers = {
            status: partial(self._note_bugs, handler) for status, handler in handlers.items()
        }
        return Sweeper(
            store=self.store, handlers=self.check_handlers, clock=self.clock, sleep=self.clock.sleep
        )

    def _note_bugs(self, handler: CheckHandler, job: Job) -> CheckOutcome:
        """Run the check of a job, and keep the error that the sweep does not expect of it."""
        try:
            return handler(job)
        except ProxyError:
            raise
        except Exception as error:
            self.bugs.append(error)
            raise

    # Accounts

    def find_account(self, tenant: str) -> Account:
        name = self.own_accounts.get(tenant)
        return Account(tenant, name) if name else SHARED_ACCOUNT

    def get_replicate(self, account: Account) -> FakeReplicate:
        return self.replicate if account.is_shared else self.own_replicates[account]

    # Faults

    def checkpoint(self, name: str) -> None:
        if self.fault_occurs(f"crash.{name}"):
            raise Crash(name)

    # The bus and the queues

    def publish(self, events: Sequence[Event]) -> None:
        """Publish events on the bus, whose rules put them on the queues."""
        for event in events:
            self.enqueue_event(event)

    def enqueue_event(self, event: Event, delay_seconds: float = 0) -> None:
        """Put a report on the harvest queue if it is of a succeeded prediction, else on the track queue."""
        report = PredictionReport.from_queue_message(build_queue_body(event))
        self.enqueue(lambda: self._handle_report(report), delay_seconds)

    def _handle_report(self, report: PredictionReport) -> None:
        report = self.report_loader.load(report)
        if report.status == "succeeded":
            self.harvester.harvest_job(report, self.clock.now() + timedelta(seconds=300))
        else:
            self.tracker.track_report(report)

    def enqueue(self, handle: Callable[[], None], delay_seconds: float = 0) -> None:
        """Add a message, unless a fault loses it."""
        if self.fault_occurs("queue.lost"):
            return
        due_seconds = self.elapsed_seconds + delay_seconds
        self.messages.append(Message(due_seconds, next(self._message_numbers), handle))

    def handle_due_messages(self) -> int:
        """Handle the messages that are due now, and return how many there were."""
        due = sorted(message for message in self.messages if message.due_seconds <= self.elapsed_seconds)
        self.messages = [message for message in self.messages if message.due_seconds > self.elapsed_seconds]
        for message in due:
            self._handle_message(message)
        return len(due)

    def _handle_message(self, message: Message) -> None:
        try:
            message.handle()
        except (Crash, ProxyError):
            message.receive_count += 1
            message.due_seconds = self.elapsed_seconds + _VISIBILITY_TIMEOUT_SECONDS
            is_dead = message.receive_count >= _MAX_RECEIVE_COUNT
            (self.dead_letters if is_dead else self.messages).append(message)

    def drain_messages(self) -> None:
        """Handle messages until none is due."""
        for _ in range(1000):
            if not self.handle_due_messages():
                return
        raise AssertionError("messages keep creating messages that are due at once")

    # Time

    @property
    def elapsed_seconds(self) -> float:
        return (self.clock.now() - self.started_at).total_seconds()

    def run_sweep(self) -> Mapping[CheckOutcome, int]:
        """Run the sweep of one minute, and return the outcomes of its checks.

        Raises what a check has raised, unless it is an error of this package.
        """
        try:
            outcomes = self.sweeper.sweep_jobs(self.clock.now() + timedelta(seconds=50)).outcomes
        except Crash:
            return {}
        if self.bugs:
            raise self.bugs[0]
        return outcomes

    def pass_time(self, seconds: float, *, step_seconds: float = 30) -> None:
        """Advance the clock in steps; in each, handle the messages and run the sweep."""
        for _ in range(int(seconds // step_seconds)):
            self.clock.advance(step_seconds)
            self.drain_messages()
            self.run_sweep()
            self.drain_messages()

    # The caller's side

    def accept_job(self, prompt: str = "a cat", **fields: Any) -> CreateResult:
        """Create a job as ingest does."""
        request = JobRequest(
            submission=Submission(kind=SubmissionKind.VERSION, version=VERSION),
            input={"prompt": prompt},
            public_base_url=BASE_URL,
            correlation_id="c-1",
            **fields,
        )
        return self.job_creator.create(request, PRINCIPAL)

    def put_job(self, status: JobStatus = JobStatus.QUEUED, **fields: Any) -> Job:
        """Store a job as it is, without a message."""
        return self.store.put(make_job(status, **fields))

    def get_job(self, job: Job) -> Job:
        """Return the job as it is stored now."""
        return self.store.jobs[job.tenant, job.id]

    def dispatch_job(self, job: Job) -> Job:
        """Handle a submit command for the job, and return the job as it is stored then."""
        self.dispatcher.handle_command(DispatchCommand.for_job(DispatchKind.SUBMIT, job))
        return self.get_job(job)

    # Replicate's side

    def send_webhook(
        self, prediction_id: str, body: bytes | None = None, *, replicate: FakeReplicate | None = None
    ) -> None:
        """Call the prediction's callback URL with a signed webhook, as Replicate does.

        `body` replaces the JSON of the prediction; `replicate` is that of its account.
        """
        replicate = replicate or self.replicate
        url = replicate.webhooks[prediction_id]
        query = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        if body is None:
            body = json.dumps(replicate.predictions[prediction_id]).encode()
        message_id = f"msg_{next(self._message_numbers)}"
        timestamp = int(self.clock.now().timestamp())
        headers = {
            "webhook-id": message_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signing.sign_webhook([SECRET], message_id, timestamp, body),
        }
        with suppress(RetryableError):
            self.webhook_handler.handle_webhook(headers, query, body)
