"""The functions of the stack, composed of the real services and adapters over the in-memory AWS.

Each builder makes what one execution environment holds: its caches are its own, as in Lambda. What is
replaced: the files of outputs (no image is decoded) and the HTTP call to receivers.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from replicate_proxy.accounts.directory import AccountDirectory
from replicate_proxy.accounts.per_account import PerAccount
from replicate_proxy.api.predictions.job_request_parser import JobRequestParser, ParserSettings
from replicate_proxy.aws.account_store import DynamoAccountStore
from replicate_proxy.aws.api_gateway import ApiGateway
from replicate_proxy.aws.batch_store import DynamoBatchStore
from replicate_proxy.aws.budget_store import DynamoBudgetedJobs, DynamoBudgetStore
from replicate_proxy.aws.control_table import ControlTable
from replicate_proxy.aws.deletion_store import DynamoDeletionStore
from replicate_proxy.aws.delivery_store import DynamoDeliveryStore
from replicate_proxy.aws.document_store import S3DocumentStore
from replicate_proxy.aws.endpoint_store import DynamoEndpointStore, DynamoSigningSecretStore
from replicate_proxy.aws.errors import translate_aws_errors
from replicate_proxy.aws.event_bus import EventBridgeBus
from replicate_proxy.aws.idempotency_store import DynamoIdempotencyStore
from replicate_proxy.aws.job_store import DynamoJobStore
from replicate_proxy.aws.job_stream import DynamoJobStream
from replicate_proxy.aws.key_store import DynamoKeyStore
from replicate_proxy.aws.lease import Lease
from replicate_proxy.aws.object_remover import S3ObjectRemover
from replicate_proxy.aws.queues import SqsCommandQueue, SqsDeliveryQueue, SqsHarvestQueue
from replicate_proxy.aws.receiver_limit_store import DynamoReceiverLimitStore
from replicate_proxy.aws.row_removers import DynamoDeliveryRemover, DynamoUsageMarkRemover
from replicate_proxy.aws.secrets import SecretReader, SsmParameter
from replicate_proxy.aws.slot_store import DynamoSlotStore
from replicate_proxy.aws.tenant_limit_store import DynamoTenantLimitStore
from replicate_proxy.aws.usage_store import DynamoUsageStore
from replicate_proxy.batches.canceled import CanceledBatches
from replicate_proxy.budgets.alerts import BudgetAlerts
from replicate_proxy.budgets.gate import BudgetGate
from replicate_proxy.concurrency.gate import SlotGate
from replicate_proxy.concurrency.limits import ConcurrencyLimits
from replicate_proxy.concurrency.line import Line
from replicate_proxy.concurrency.releases import SlotReleaser
from replicate_proxy.concurrency.repair import SlotRepair
from replicate_proxy.contracts.stream_urls import StreamUrlBuilder
from replicate_proxy.deletion.deleter import JobDeleter
from replicate_proxy.deletion.sweep import DeletionSweep
from replicate_proxy.errors import RetryableError
from replicate_proxy.images.options import ImageOptions
from replicate_proxy.input_schemas.known_schemas import KnownSchemas
from replicate_proxy.jobs.model import SHARED_ACCOUNT
from replicate_proxy.jobs.timeouts import JobTimeouts
from replicate_proxy.jobs.updater import JobUpdater
from replicate_proxy.model_entries.directory import NoEntries
from replicate_proxy.operations.accounts import AccountService
from replicate_proxy.operations.job_retries import JobRetries, RetryReservations
from replicate_proxy.operations.keys import KeyService
from replicate_proxy.operations.usage_plans import UsagePlanKeys
from replicate_proxy.outputs.records import FileOutcome, FileRecord, HarvestResult
from replicate_proxy.outputs.references import find_references, replace_references
from replicate_proxy.replicate_api.callback_url import CallbackUrls
from replicate_proxy.replicate_api.circuit_breaker import CircuitBreaker
from replicate_proxy.replicate_api.client import ReplicateClient
from replicate_proxy.replicate_api.connection import open_session
from replicate_proxy.replicate_api.known_models import KnownModels, NothingKnown
from replicate_proxy.replicate_api.predictions import UpstreamPredictionReader, UpstreamPredictionWriter
from replicate_proxy.replicate_api.rate_limit import RateLimit, RateLimiter
from replicate_proxy.replicate_api.retry import Retry, RetryingClient
from replicate_proxy.services.batches import BatchService
from replicate_proxy.services.cancel import JobCanceler
from replicate_proxy.services.cost_bounds import CostBounds
from replicate_proxy.services.dispatch import Dispatcher
from replicate_proxy.services.harvest import JobHarvester, build_continuation_event
from replicate_proxy.services.ingest import JobCreator, JobFactory
from replicate_proxy.services.input_check import InputChecker, accept_all
from replicate_proxy.services.job_costs import JobCosts
from replicate_proxy.services.progress_refresh import ProgressRefresher
from replicate_proxy.services.reconcile import Reconciler
from replicate_proxy.services.replicate_webhook import ReplicateWebhookHandler
from replicate_proxy.services.reports import ReportLoader, ReportPublisher
from replicate_proxy.services.resolve_submission import SubmissionResolver
from replicate_proxy.services.schema_refresh import SchemaRefresher
from replicate_proxy.services.stream_urls import KnownStreams, StreamUrlWaiter
from replicate_proxy.services.sweep import Sweeper
from replicate_proxy.services.track import Tracker
from replicate_proxy.services.wait import JobWaiter
from replicate_proxy.usage.counter import UsageCounter
from replicate_proxy.webhooks.batch_notifier import BatchNotifier
from replicate_proxy.webhooks.change_handler import ChangeHandler
from replicate_proxy.webhooks.deliverer import Deliverer
from replicate_proxy.webhooks.delivery_sweep import DeliverySweep
from replicate_proxy.webhooks.delivery_updater import DeliveryUpdater
from replicate_proxy.webhooks.endpoint_health import EndpointHealth
from replicate_proxy.webhooks.endpoint_service import EndpointService
from replicate_proxy.webhooks.notifier import Notifier
from replicate_proxy.webhooks.redelivery import RedeliveryService
from replicate_proxy.webhooks.request_builder import RequestBuilder
from replicate_proxy.webhooks.settings import DeliverySettings
from replicate_proxy.webhooks.status_events import StatusPublisher
from replicate_proxy.webhooks.stream_replay import StreamReplayer
from tools.simulation.accounts import SHARED_SECRET, SHARED_TOKEN
from tools.simulation.audit_invariants import NoAuditLog
from tools.simulation.aws.sqs import get_queue_url
from tools.simulation.batch_functions import BatchFunctions, InputFiles
from tools.simulation.budget_invariants import CEILING_MICRO_USD
from tools.simulation.concurrency_invariants import StaticEntries
from tools.simulation.cost_invariants import PRICES
from tools.simulation.replicate import STREAM_HOST_URL, ReplicateAdapter
from tools.simulation.resources import BUCKET, BUS, DUE_SHARDS, Queue, Table
from tools.simulation.timestamps import VirtualClock

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from replicate_proxy.audit.log import AuditLog
    from replicate_proxy.auth.principal import Principal
    from replicate_proxy.aws.usage_store import DynamoBatchCounts
    from replicate_proxy.batches.worker import BatchWorker
    from replicate_proxy.deletion.model import Deletion
    from replicate_proxy.jobs.model import Account, Job
    from replicate_proxy.services.ingest import CreateResult, JobRequest
    from replicate_proxy.services.input_check import CheckInput
    from replicate_proxy.services.large_batches import LargeBatchService
    from replicate_proxy.webhooks.ports import Sender
    from tools.simulation.aws import InMemoryAws
    from tools.simulation.faults import FaultPlan
    from tools.simulation.replicate import SimulatedReplicate
    from tools.simulation.scheduler import Scheduler

ROOT_SECRET = b"the root secret of the simulation"
DIGEST_KEY = b"the digest key of the simulation"
WEBHOOK_BASE_URL = "https://hooks.proxy.test"
OUTPUTS_BASE_URL = "https://outputs.proxy.test"
STREAM_KEY = b"the key of stream URLs in the simulation"
_STREAM_WAIT_SECONDS = 5.0


@dataclass(frozen=True)
class Ingest:
    """Creates and cancels jobs and batches, and reads them."""

    creator: JobCreator
    canceler: JobCanceler
    batches: BatchService
    large_batches: LargeBatchService
    jobs: DynamoJobStore
    documents: S3DocumentStore
    stream_waiter: StreamUrlWaiter | None = None

    def create(self, request: JobRequest, principal: Principal) -> CreateResult:
        """Create a job as the route does: with streams, it waits for that of the prediction."""
        result = self.creator.create(request, principal)
        if self.stream_waiter is not None:
            self.stream_waiter.wait(result.job)
        return result


@dataclass(frozen=True)
class Reports:
    """Track and harvest: a loader of reports, and what handles them."""

    loader: ReportLoader
    tracker: Tracker
    harvester: JobHarvester


@dataclass(frozen=True)
class Sweep:
    """The parts of the sweep function, and the lease that excludes a second one."""

    lease: Lease
    start_batches: Callable[[], None] | None
    deliveries: DeliverySweep
    jobs: Sweeper
    slots: SlotRepair | None
    deletions: DeletionSweep | None


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


@dataclass(frozen=True)
class Endpoints:
    """What owners of endpoints and operators do."""

    service: EndpointService
    redelivery: RedeliveryService
    deliveries: DynamoDeliveryStore


@dataclass(frozen=True, slots=True)
class Features:
    """What is set up in a run: concurrency limits, own accounts of tenants, deletions, and large batches."""

    has_limits: bool = False
    has_batches: bool = False
    has_own_accounts: bool = False
    has_deletions: bool = False


class Composition:
    """Builds the functions; `checkpoint` is passed to every service that has one."""

    def __init__(
        self,
        *,
        aws: InMemoryAws,
        scheduler: Scheduler,
        replicate: SimulatedReplicate,
        plan: FaultPlan,
        sender: Sender,
        checkpoint: Callable[[str], None],
        rate_limit: RateLimit,
        features: Features,
    ) -> None:
        self._aws = aws
        self._features = features
        self._scheduler = scheduler
        self._replicate = replicate
        self._plan = plan
        self._sender = sender
        self._checkpoint = checkpoint
        self._rate_limit = rate_limit
        self.clock = VirtualClock(scheduler)
        self.audit: AuditLog = NoAuditLog()
        self.timeouts = JobTimeouts(webhooks_enabled=plan.replicate_webhooks_enabled)
        self.delivery_settings = DeliverySettings(due_shards=DUE_SHARDS)
        self.urls = CallbackUrls(WEBHOOK_BASE_URL, ROOT_SECRET)
        s3 = aws.client("s3")
        self.documents = S3DocumentStore(lambda: s3, BUCKET, max_inline_bytes=plan.max_inline_bytes)
        self.jobs = DynamoJobStore(aws.client("dynamodb"), Table.JOBS)
        self.deliveries = DynamoDeliveryStore(
            aws.client("dynamodb"), Table.DELIVERIES, due_shards=self.delivery_settings.due_shards
        )
        self.endpoints = DynamoEndpointStore(aws.client("dynamodb"), Table.DELIVERIES)
        self.signing_secrets = DynamoSigningSecretStore(aws.client("dynamodb"), Table.DELIVERIES)
        self.receiver_limits = DynamoReceiverLimitStore(
            aws.client("dynamodb"), Table.DELIVERIES, self.delivery_settings
        )
        self.budgets = DynamoBudgetStore(aws.client("dynamodb"), Table.USAGE)
        self.keys = DynamoKeyStore(aws.client("dynamodb"), Table.ACCESS)
        self.updater = JobUpdater(
            self.jobs, self.clock, self.timeouts, calculate_cost=JobCosts(PRICES).calculate
        )
        self.dispatch_queue = SqsCommandQueue(
            aws.client("sqs"), get_queue_url(Queue.DISPATCH), get_queue_url(Queue.BATCH_DISPATCH)
        )
        self.files = InputFiles(aws, self.clock)
        self.harvest_queue = SqsHarvestQueue(aws.client("sqs"), get_queue_url(Queue.HARVEST))
        self.notify_queue = SqsDeliveryQueue(aws.client("sqs"), get_queue_url(Queue.NOTIFY))
        self.bus = EventBridgeBus(aws.client("events"), BUS)
        self.slots = DynamoSlotStore(
            aws.client("dynamodb"), control_table=Table.CONTROL, jobs_table=Table.JOBS
        )
        self.tenant_limits = DynamoTenantLimitStore(self._control_table())

    def build_ingest(self) -> Ingest:
        waiter = JobWaiter(self.jobs, self.clock, self._scheduler.sleep, max_wait_seconds=20)
        canceler = JobCanceler(self.updater, self.dispatch_queue, waiter, checkpoint=self._checkpoint)
        streams = self._build_streams()
        factory = JobFactory(self.documents, self.timeouts, streams.find_url)
        budgets = self._build_budget_gate()
        idempotency = self._build_idempotency_store()
        check_input = self._build_input_check()
        creator = JobCreator(
            store=self.jobs,
            idempotency=idempotency,
            factory=factory,
            queue=self.dispatch_queue,
            clock=self.clock,
            budgets=budgets,
            check_input=check_input,
            checkpoint=self._checkpoint,
        )
        batches = BatchService(
            store=self._build_batch_store(),
            idempotency=idempotency,
            factory=factory,
            queue=self.dispatch_queue,
            canceler=canceler,
            clock=self.clock,
            budgets=budgets,
            check_input=check_input,
            checkpoint=self._checkpoint,
            counts=self._build_batch_functions().build_counts(),
        )
        stream_waiter = StreamUrlWaiter(streams, waiter, _STREAM_WAIT_SECONDS)
        return Ingest(
            creator,
            canceler,
            batches,
            self._build_batch_functions().build_service(),
            self.jobs,
            self.documents,
            stream_waiter if self._plan.streams_enabled else None,
        )

    def build_batch_worker(self) -> BatchWorker:
        def build_notifier(counts: DynamoBatchCounts) -> BatchNotifier:
            return BatchNotifier(
                deliveries=self.deliveries,
                endpoints=self.endpoints,
                documents=self.documents,
                counts=counts,
                queue=self.notify_queue,
                clock=self.clock,
                settings=self.delivery_settings,
            )

        return self._build_batch_functions().build_worker(build_notifier)

    def _build_batch_functions(self) -> BatchFunctions:
        entries = StaticEntries() if self._features.has_limits else NoEntries()
        return BatchFunctions(
            aws=self._aws,
            files=self.files,
            clock=self.clock,
            timeouts=self.timeouts,
            jobs=self.jobs,
            documents=self.documents,
            idempotency=self._build_idempotency_store(),
            factory=JobFactory(self.documents, self.timeouts, self._build_streams().find_url),
            parser=JobRequestParser(
                ParserSettings(),
                lambda *_: None,
                entries=entries,
                find_account=self._build_account_finder(),
            ),
            budgets=self._build_budget_gate(),
            check_input=self._build_input_check(),
            updater=self.updater,
            queue=self.dispatch_queue,
            control_table=self._control_table(),
            part_bytes=self._plan.part_bytes,
            checkpoint=self._checkpoint,
        )

    def _build_idempotency_store(self) -> DynamoIdempotencyStore:
        return DynamoIdempotencyStore(self._aws.client("dynamodb"), Table.JOBS)

    def _build_batch_store(self) -> DynamoBatchStore:
        return DynamoBatchStore(self._aws.client("dynamodb"), Table.JOBS, self.jobs)

    def _build_streams(self) -> KnownStreams:
        return KnownStreams(self._build_known_models(), lambda: STREAM_KEY, self._build_account_finder())

    def _build_input_check(self) -> CheckInput:
        return (
            InputChecker(self._build_schemas()).check if self._plan.input_validation_enabled else accept_all
        )

    def _build_schemas(self) -> KnownSchemas:
        return KnownSchemas(self._control_table(), self.clock, monotonic=lambda: self._scheduler.now)

    def _build_schema_refresher(self) -> SchemaRefresher | None:
        if not self._plan.input_validation_enabled:
            return None
        return SchemaRefresher(self._build_schemas(), self._build_readers().of, self.dispatch_queue)

    def build_retries(self) -> JobRetries:
        creator = JobCreator(
            store=self.jobs,
            idempotency=RetryReservations(self.updater),
            factory=JobFactory(self.documents, self.timeouts),
            queue=self.dispatch_queue,
            clock=self.clock,
            budgets=self._build_budget_gate(),
            checkpoint=self._checkpoint,
        )
        return JobRetries(
            jobs=self.jobs,
            documents=self.documents,
            creator=creator,
            build_request=JobRequestParser(ParserSettings(), lambda *_: None).parse_retry,
            audit=self.audit,
        )

    def _build_budget_gate(self) -> BudgetGate:
        budgeted_jobs = DynamoBudgetedJobs(self._aws.client("dynamodb"), Table.USAGE, Table.JOBS)
        return BudgetGate(
            store=budgeted_jobs,
            alerts=BudgetAlerts(budgeted_jobs, self.bus, self.clock),
            estimate=CostBounds(PRICES, CEILING_MICRO_USD).estimate,
            clock=self.clock,
            sleep=self._scheduler.sleep,
            random_fraction=self._draw_fraction,
        )

    def build_dispatch(self) -> Dispatcher:
        limiters = self._build_limiters("creates", self._rate_limit)
        batch_limiters = self._build_limiters(
            "creates", self._rate_limit, reserve=self._rate_limit.burst // 2
        )
        canceled = CanceledBatches(self._build_batch_store(), monotonic=lambda: self._scheduler.now)
        return Dispatcher(
            updater=self.updater,
            documents=self.documents,
            queue=self.dispatch_queue,
            get_client=PerAccount(
                lambda account: UpstreamPredictionWriter(
                    self._build_client(account),
                    self.build_breaker(account),
                    limiters.of(account),
                    batch_limiters.of(account),
                    self._scheduler.sleep,
                )
            ).of,
            urls=self.urls,
            clock=self.clock,
            timeouts=self.timeouts,
            known_models=self._build_known_models(),
            refresher=self._build_refresher(),
            schemas=self._build_schema_refresher(),
            streams=StreamUrlBuilder(OUTPUTS_BASE_URL, STREAM_HOST_URL, STREAM_KEY),
            concurrency=self._build_gate(),
            is_batch_canceled=canceled.is_canceled,
            find_account=self._build_account_finder(),
            checkpoint=self._checkpoint,
        )

    def build_webhook(self) -> ReplicateWebhookHandler:
        reader = self._build_secret_reader()

        def read_secrets(account: Account, refresh: bool) -> Sequence[str]:
            if account.is_shared:
                return [SHARED_SECRET]
            return reader.get_list(_name_secret(account), refresh=refresh)

        return ReplicateWebhookHandler(
            secrets=read_secrets,
            urls=CallbackUrls("", ROOT_SECRET),
            reports=ReportPublisher(self.bus, self.documents),
            clock=self.clock,
            checkpoint=self._checkpoint,
        )

    def build_reports(self) -> Reports:
        harvester = JobHarvester(
            updater=self.updater,
            documents=self.documents,
            output_harvester=SimulatedOutputHarvester(
                self._aws, self._replicate, self._plan, self._scheduler
            ),
            queue=self.harvest_queue,
            clock=self.clock,
            default_image_options=lambda _: ImageOptions(),
            checkpoint=self._checkpoint,
        )
        tracker = Tracker(
            updater=self.updater,
            documents=self.documents,
            queue=self.dispatch_queue,
            checkpoint=self._checkpoint,
        )
        return Reports(ReportLoader(self.documents), tracker, harvester)

    def build_sweep(self) -> Sweep:
        readers = self._build_readers()
        resolver = SubmissionResolver(
            updater=self.updater,
            store=self.jobs,
            documents=self.documents,
            queue=self.dispatch_queue,
            get_lister=readers.of,
            urls=self.urls,
            clock=self.clock,
            timeouts=self.timeouts,
            checkpoint=self._checkpoint,
        )
        reconciler = Reconciler(
            updater=self.updater,
            documents=self.documents,
            queue=self.dispatch_queue,
            reports=ReportPublisher(self.bus, self.documents),
            get_reader=readers.of,
            resolver=resolver,
            resume_harvest=self._resume_harvest,
            clock=self.clock,
            timeouts=self.timeouts,
            checkpoint=self._checkpoint,
        )
        deliveries = DeliverySweep(
            deliveries=self.deliveries,
            queue=self.notify_queue,
            redelivery=self._build_redelivery(),
            clock=self.clock,
            settings=self.delivery_settings,
            checkpoint=self._checkpoint,
        )
        jobs = Sweeper(
            store=self.jobs,
            handlers=reconciler.build_handlers(),
            clock=self.clock,
            sleep=self._scheduler.sleep,
        )
        lease = Lease(self._control_table(), "sweep", self.clock)
        start_batches = self._build_batch_functions().build_starter() if self._features.has_batches else None
        return Sweep(
            lease, start_batches, deliveries, jobs, self._build_repair(), self._build_deletion_sweep()
        )

    def build_deleter(self) -> JobDeleter:
        return JobDeleter(self._build_deletion_store(), self.clock, checkpoint=self._checkpoint)

    def _build_deletion_store(self) -> DynamoDeletionStore:
        dynamodb = self._aws.client("dynamodb")
        return DynamoDeletionStore(dynamodb, Table.JOBS, self._build_batch_store())

    def _build_deletion_sweep(self) -> DeletionSweep | None:
        if not self._features.has_deletions:
            return None
        dynamodb = self._aws.client("dynamodb")
        return DeletionSweep(
            store=self._build_deletion_store(),
            objects=S3ObjectRemover(self._aws.client("s3"), BUCKET),
            list_prefixes=_list_prefixes,
            rows=[DynamoDeliveryRemover(dynamodb, Table.DELIVERIES)],
            late_rows=[DynamoUsageMarkRemover(dynamodb, Table.USAGE)],
            clock=self.clock,
            checkpoint=self._checkpoint,
        )

    def build_notify(self) -> Notify:
        notifier = Notifier(
            deliveries=self.deliveries,
            endpoints=self.endpoints,
            documents=self.documents,
            queue=self.notify_queue,
            publisher=StatusPublisher(self.bus, None),
            clock=self.clock,
            settings=self.delivery_settings,
            is_deleted=self.jobs.is_deleted if self._features.has_deletions else lambda *_key: False,
            checkpoint=self._checkpoint,
        )
        stream = DynamoJobStream(
            self._aws.client("dynamodbstreams"), clock=self.clock, sleep=self._scheduler.sleep, max_seconds=20
        )
        releaser = SlotReleaser(self.slots, self._build_line(self._build_limits()))
        handler = ChangeHandler(releaser.release, notifier.notify)
        return Notify(handler, StreamReplayer(stream, handler.handle))

    def build_usage(self) -> Usage:
        store = DynamoUsageStore(self._aws.client("dynamodb"), Table.USAGE)
        counter = UsageCounter(store, self.clock, self._scheduler.sleep)
        stream = DynamoJobStream(
            self._aws.client("dynamodbstreams"), clock=self.clock, sleep=self._scheduler.sleep, max_seconds=20
        )
        return Usage(counter, StreamReplayer(stream, counter.count))

    def build_deliver(self) -> Deliverer:
        return Deliverer(
            updater=DeliveryUpdater(
                deliveries=self.deliveries, queue=self.notify_queue, settings=self.delivery_settings
            ),
            request_builder=RequestBuilder(
                deliveries=self.deliveries,
                endpoints=self.endpoints,
                secrets=self.signing_secrets,
                documents=self.documents,
            ),
            receiver_limits=self.receiver_limits,
            endpoint_health=EndpointHealth(
                receiver_limits=self.receiver_limits,
                endpoints=self.endpoints,
                bus=self.bus,
                settings=self.delivery_settings,
            ),
            sender=self._sender,
            clock=self.clock,
            settings=self.delivery_settings,
            random_fraction=self._draw_fraction,
            checkpoint=self._checkpoint,
        )

    def build_endpoints(self) -> Endpoints:
        service = EndpointService(
            endpoints=self.endpoints,
            secrets=self.signing_secrets,
            receiver_limits=self.receiver_limits,
            check_url=lambda url: url,
            clock=self.clock,
        )
        return Endpoints(service, self._build_redelivery(), self.deliveries)

    def build_keys(self) -> KeyService:
        gateway = ApiGateway(self._aws.client("apigateway"), prefix="simulation")
        return KeyService(
            store=self.keys,
            gateway=gateway,
            usage_plan_keys=UsagePlanKeys(gateway, default_limits=None),
            load_digest_key=lambda: DIGEST_KEY,
            clock=self.clock,
            authorizer_cache_ttl=timedelta(seconds=300),
            audit=self.audit,
        )

    def build_breaker(self, account: Account = SHARED_ACCOUNT) -> CircuitBreaker:
        return CircuitBreaker(self._control_table(), self.clock, account=account)

    def build_accounts(self) -> AccountService:
        """Return what operators do about the accounts of tenants."""
        ssm = self._aws.client("ssm")
        return AccountService(
            store=DynamoAccountStore(self._control_table()),
            connect=lambda token: self._build_replicate_client(lambda _: token),
            connect_stored=lambda account: self._build_client(account).client,
            get_token=lambda account: SsmParameter(ssm, _name_token(account)),
            get_webhook_secret=lambda account: SsmParameter(ssm, _name_secret(account)),
            clock=self.clock,
            audit=NoAuditLog(),
        )

    def _build_account_finder(self) -> Callable[[str], Account]:
        if not self._features.has_own_accounts:
            return lambda _tenant: SHARED_ACCOUNT
        store = DynamoAccountStore(self._control_table())
        return AccountDirectory(store, monotonic=lambda: self._scheduler.now).find

    def _build_secret_reader(self) -> SecretReader:
        return SecretReader(self._aws.client("ssm"), monotonic=lambda: self._scheduler.now)

    def _build_limits(self) -> ConcurrencyLimits:
        return ConcurrencyLimits(self.tenant_limits, StaticEntries(), monotonic=lambda: self._scheduler.now)

    def _build_line(self, limits: ConcurrencyLimits) -> Line:
        return Line(self.slots, limits, self.dispatch_queue)

    def _build_gate(self) -> SlotGate | None:
        if not self._features.has_limits:
            return None
        limits = self._build_limits()
        return SlotGate(
            updater=self.updater,
            store=self.slots,
            limits=limits,
            line=self._build_line(limits),
            clock=self.clock,
            timeouts=self.timeouts,
        )

    def _build_repair(self) -> SlotRepair | None:
        if not self._features.has_limits:
            return None
        limits = self._build_limits()
        return SlotRepair(
            store=self.slots,
            jobs=self.jobs,
            limits=limits,
            line=self._build_line(limits),
            clock=self.clock,
        )

    def _build_redelivery(self) -> RedeliveryService:
        return RedeliveryService(
            deliveries=self.deliveries,
            endpoints=self.endpoints,
            queue=self.notify_queue,
            clock=self.clock,
            settings=self.delivery_settings,
        )

    def _build_client(self, account: Account) -> RetryingClient:
        reader = self._build_secret_reader()

        def get_token(refresh: bool) -> str:
            return SHARED_TOKEN if account.is_shared else reader.get(_name_token(account), refresh=refresh)

        return RetryingClient(self._build_replicate_client(get_token), Retry())

    def _build_replicate_client(self, get_token: Callable[[bool], str]) -> ReplicateClient:
        session = open_session()
        session.trust_env = False
        session.mount("https://", ReplicateAdapter(self._scheduler, self._replicate, self._plan))
        return ReplicateClient(session, "https://api.replicate.test", get_token)

    def _build_limiters(self, name: str, limit: RateLimit, *, reserve: int = 0) -> PerAccount[RateLimiter]:
        table = self._control_table()
        return PerAccount(
            lambda account: RateLimiter(table, account.qualify(name), limit, self.clock, reserve=reserve)
        )

    def _control_table(self) -> ControlTable:
        return ControlTable(self._aws.client("dynamodb"), Table.CONTROL)

    def _build_known_models(self) -> KnownModels | NothingKnown:
        if not self._plan.streams_enabled:
            return NothingKnown()
        return KnownModels(self._control_table(), self.clock, monotonic=lambda: self._scheduler.now)

    def _build_refresher(self) -> ProgressRefresher | None:
        """Return what reads the end of a canceled stream."""
        if not self._plan.streams_enabled:
            return None
        return ProgressRefresher(
            get_reader=self._build_readers().of,
            get_limiter=self._build_limiters("progress", RateLimit(900, 60)).of,
            reports=ReportPublisher(self.bus, self.documents),
            clock=self.clock,
        )

    def _build_readers(self) -> PerAccount[UpstreamPredictionReader]:
        limiters = self._build_limiters("reads", RateLimit(2400, 200))
        return PerAccount(
            lambda account: UpstreamPredictionReader(
                self._build_client(account),
                self.build_breaker(account),
                limiters.of(account),
                self._scheduler.sleep,
            )
        )

    def _resume_harvest(self, job: Job) -> None:
        self.harvest_queue.send(build_continuation_event(job, self.clock.now()), tenant=job.tenant)

    def _draw_fraction(self) -> float:
        actor = self._scheduler.current
        return actor.random.random() if actor is not None else 0.5


class SimulatedOutputHarvester:
    """Stores one object for each file of an output, without fetching or decoding anything."""

    def __init__(
        self, aws: InMemoryAws, replicate: SimulatedReplicate, plan: FaultPlan, scheduler: Scheduler
    ) -> None:
        self._s3 = aws.client("s3")
        self._replicate = replicate
        self._plan = plan
        self._scheduler = scheduler

    def harvest(
        self,
        *,
        tenant: str,
        job_id: str,
        output: object,
        options: ImageOptions,
        deadline: datetime,
        earlier_records: tuple[FileRecord, ...],
        is_private: bool,
    ) -> HarvestResult:
        del options, deadline, is_private
        records = {record.path: record for record in earlier_records if not record.retryable}
        for reference in find_references(output):
            if reference.path not in records:
                records[reference.path] = self._store(tenant, job_id, reference.path, reference.url)
        urls = {record.path: record.url for record in records.values() if record.is_stored}
        return HarvestResult(output=replace_references(output, urls), records=tuple(records.values()))

    def _store(self, tenant: str, job_id: str, path: tuple[Any, ...], url: str) -> FileRecord:
        actor = self._scheduler.actor
        fault = self._plan.choose_replicate_fault(actor, "download", is_create=False)
        self._plan.pause(actor, f"download {url}", fault)
        prediction_id = url.split("/")[3]
        if not self._replicate.has_data(prediction_id):
            return FileRecord(path, FileOutcome.NOT_STORED, url, "gone")
        if fault in {"refused", "reset", "response_lost", "status_503", "broken_json"}:
            return FileRecord(path, FileOutcome.NOT_STORED, url, "unavailable", retryable=True)
        key = f"outputs/{tenant}/{job_id}/{prediction_id}.png"
        try:
            with translate_aws_errors("store file"):
                self._s3.put_object(Bucket=BUCKET, Key=key, Body=prediction_id.encode())
        except RetryableError:
            return FileRecord(path, FileOutcome.NOT_STORED, url, "store_failed", retryable=True)
        return FileRecord(path, FileOutcome.STORED, f"{OUTPUTS_BASE_URL}/{key}")


def _list_prefixes(deletion: Deletion) -> list[str]:
    kinds = ("records", "events", *(("outputs",) if deletion.deletes_files else ()))
    return [f"{kind}/{deletion.tenant}/{deletion.id}/" for kind in kinds]


def _name_token(account: Account) -> str:
    return f"/simulation/tenant-tokens/{account.tenant}/{account.name}"


def _name_secret(account: Account) -> str:
    return f"/simulation/tenant-webhook-secrets/{account.tenant}/{account.name}"


def calculate_time_left(scheduler: Scheduler, clock: VirtualClock) -> timedelta:
    """Return how long the current process may still run."""
    actor = scheduler.actor
    return timedelta(seconds=actor.process.deadline - clock.now().timestamp())
