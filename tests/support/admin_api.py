"""The admin API on fakes."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from replicate_proxy.api.admin.actor import handle_as_actor
from replicate_proxy.api.admin.routes import AdminServices, add_admin_routes
from replicate_proxy.api.predictions.job_request_parser import JobRequestParser, ParserSettings
from replicate_proxy.api.routing import Router
from replicate_proxy.audit.log import StoredAuditLog
from replicate_proxy.audit.trail import AuditTrail
from replicate_proxy.auth.keys import UsageLimits
from replicate_proxy.auth.tenants import Tenant
from replicate_proxy.aws.batch_store import DynamoBatchStore
from replicate_proxy.aws.budget_store import DynamoBudgetedJobs
from replicate_proxy.aws.bulk_store import DynamoBulkStore
from replicate_proxy.aws.control_table import ControlTable
from replicate_proxy.aws.deletion_store import DynamoDeletionStore
from replicate_proxy.aws.endpoint_store import DynamoEndpointStore
from replicate_proxy.aws.erasure_store import DynamoErasureStore
from replicate_proxy.aws.idempotency_store import DynamoIdempotencyStore
from replicate_proxy.aws.job_index import DynamoJobIndex
from replicate_proxy.aws.job_store import DynamoJobStore
from replicate_proxy.aws.lease import Lease
from replicate_proxy.aws.usage_store import DynamoBatchCounts
from replicate_proxy.costs.money import MICRO_PER_USD
from replicate_proxy.costs.shipped_prices import load_price_book
from replicate_proxy.deletion.deleter import JobDeleter
from replicate_proxy.jobs.timeouts import JobTimeouts
from replicate_proxy.jobs.updater import JobUpdater
from replicate_proxy.operations.breaker import BreakerService
from replicate_proxy.operations.budgets import BudgetService
from replicate_proxy.operations.bulk.actions import build_actions
from replicate_proxy.operations.bulk.service import BulkService
from replicate_proxy.operations.bulk.worker import BulkWorker
from replicate_proxy.operations.dead_letters import DeadLetterQueue, DeadLetterService
from replicate_proxy.operations.erasure.access import StoredTenantAccess
from replicate_proxy.operations.erasure.service import ErasureService
from replicate_proxy.operations.job_actions import JobActions
from replicate_proxy.operations.job_retries import JobRetries, RetryReservations
from replicate_proxy.operations.job_search import JobSearch
from replicate_proxy.operations.job_story import JobStoryteller
from replicate_proxy.operations.keys import KeyService
from replicate_proxy.operations.model_entries import ModelEntryService
from replicate_proxy.operations.pauses import PauseService
from replicate_proxy.operations.queues import QueueMonitor
from replicate_proxy.operations.redeliveries import AuditedRedeliveries, WebhookSecretService
from replicate_proxy.operations.replays import ReplayService
from replicate_proxy.operations.replicate_status import ReplicateStatusService
from replicate_proxy.operations.tenants import TenantService
from replicate_proxy.operations.usage_plans import UsagePlanKeys
from replicate_proxy.pauses.pause import PausedActivity
from replicate_proxy.replicate_api.webhook_secret import WebhookSecretRefresher
from replicate_proxy.services.batch_list import BatchList
from replicate_proxy.services.cancel import JobCanceler
from replicate_proxy.services.cost_bounds import CostBounds
from replicate_proxy.services.ingest import JobCreator, JobFactory
from replicate_proxy.services.input_check import InputChecker
from replicate_proxy.services.rendering import PredictionRenderer
from replicate_proxy.testing.checkpoints import no_checkpoint
from replicate_proxy.usage.report import UsageReader
from replicate_proxy.webhooks.redelivery import RedeliveryService
from replicate_proxy.webhooks.settings import DeliverySettings
from tests.support.access import DIGEST_KEY, FakeGateway, FakeKeyStore, FakeTenantStore
from tests.support.accounts import FakeAccounts
from tests.support.admin_fakes import (
    FakeBreaker,
    FakeParameter,
    FakeQueueClient,
    FakeRedeliveries,
    FakeWorkerStarter,
)
from tests.support.audit import build_audit_store
from tests.support.aws import (
    CONTROL_TABLE,
    DELIVERIES_TABLE,
    JOBS_TABLE,
    USAGE_TABLE,
    create_in_memory_aws,
)
from tests.support.clock import FakeClock
from tests.support.concurrency import Concurrency
from tests.support.delivery_store import InMemoryDeliveryStore
from tests.support.fakes import FakeCommandQueue, FakeDocumentStore, FakeHarvestQueue
from tests.support.model_entries import FakeEntries, FakeModelEntryStore
from tests.support.monitoring import FakeAccountReader, FakeEventReplays, FakeQueueAges
from tests.support.pauses import FakePauseStore
from tests.support.schemas import FakeSchemas
from tests.support.usage import build_budget_gate, build_budget_store, build_usage_store
from tests.support.webhook_fakes import FakeDeliveryQueue

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from replicate_proxy.api.http import Response
    from replicate_proxy.aws.audit_store import DynamoAuditStore
    from replicate_proxy.aws.budget_store import DynamoBudgetStore
    from tests.support.usage import DynamoUsage

DEAD_LETTER_QUEUES = {
    "dispatch": DeadLetterQueue("q/dispatch-dead", source_url="q/dispatch"),
    "bus": DeadLetterQueue("q/bus-dead", source_urls_by_target={"Harvest": "q/harvest", "Track": "q/track"}),
    "sweep": DeadLetterQueue("q/sweep-dead", note="The next run does the same work"),
}
OLD_SECRET = "whsec_" + "A" * 32
NEW_SECRET = "whsec_" + "B" * 32


@dataclass
class AdminApi:
    """The admin API, and the fakes of everything that it reads or changes."""

    clock: FakeClock = field(default_factory=FakeClock)
    keys: FakeKeyStore = field(default_factory=FakeKeyStore)
    tenants: FakeTenantStore = field(default_factory=FakeTenantStore)
    can_sign_urls: bool = True
    model_entries: FakeModelEntryStore = field(default_factory=FakeModelEntryStore)
    schemas: FakeSchemas = field(default_factory=FakeSchemas)
    gateway: FakeGateway = field(default_factory=FakeGateway)
    queues: FakeQueueClient = field(default_factory=FakeQueueClient)
    queue_ages: FakeQueueAges = field(default_factory=FakeQueueAges)
    replays: FakeEventReplays | None = field(default_factory=FakeEventReplays)
    breaker: FakeBreaker = field(default_factory=FakeBreaker)
    parameter: FakeParameter = field(default_factory=lambda: FakeParameter(OLD_SECRET))
    secret: str = OLD_SECRET
    user_agent: str = "curl"
    slept_seconds: float = 0
    has_usage_plans: bool = False
    pauses: FakePauseStore = field(default_factory=FakePauseStore)
    delivery_pauses: FakePauseStore = field(default_factory=FakePauseStore)
    budgets: DynamoBudgetStore = field(default_factory=build_budget_store)
    usage: DynamoUsage = field(default_factory=build_usage_store)
    audit_store: DynamoAuditStore = field(default_factory=build_audit_store)
    documents: FakeDocumentStore = field(default_factory=FakeDocumentStore)
    commands: FakeCommandQueue = field(default_factory=FakeCommandQueue)
    harvests: FakeHarvestQueue = field(default_factory=FakeHarvestQueue)
    entries: FakeEntries = field(default_factory=FakeEntries)
    check_pause: Callable[[str], None] = lambda _tenant: None
    checkpoint: Callable[[str], None] = no_checkpoint
    dynamodb: Any = field(default_factory=lambda: create_in_memory_aws().client("dynamodb"))
    worker_starter: FakeWorkerStarter = field(default_factory=FakeWorkerStarter)
    accounts: FakeAccounts = field(init=False)

    def __post_init__(self) -> None:
        self.accounts = FakeAccounts(self.clock, self.audit)

    @cached_property
    def delivery_queue(self) -> FakeDeliveryQueue:
        return FakeDeliveryQueue(self.clock)

    @cached_property
    def concurrency(self) -> Concurrency:
        return Concurrency(model_entries=self.model_entries, audit=self.audit)

    def sleep(self, seconds: float) -> None:
        self.slept_seconds += seconds
        self.clock.advance(seconds)

    @property
    def dead_letters(self) -> DeadLetterService:
        return DeadLetterService(
            self.queues, DEAD_LETTER_QUEUES, clock=self.clock, sleep=self.sleep, audit=self.audit
        )

    @cached_property
    def queue_monitor(self) -> QueueMonitor:
        return QueueMonitor(self.queues, self.queue_ages, DEAD_LETTER_QUEUES)

    @cached_property
    def replicate_status(self) -> ReplicateStatusService:
        return ReplicateStatusService(
            accounts=self.accounts.store,
            get_reader=lambda account: FakeAccountReader(self.accounts, self.clock, account),
            get_breaker=lambda _account: self.breaker,
            search=JobSearch(self.job_index, UsageReader(self.usage), self.clock),
            clock=self.clock,
        )

    @cached_property
    def deliveries(self) -> InMemoryDeliveryStore:
        return InMemoryDeliveryStore(self.dynamodb)

    @property
    def jobs(self) -> DynamoJobStore:
        return DynamoJobStore(self.dynamodb, JOBS_TABLE)

    @property
    def job_index(self) -> DynamoJobIndex:
        return DynamoJobIndex(self.dynamodb, JOBS_TABLE)

    @property
    def audit(self) -> StoredAuditLog:
        return StoredAuditLog(
            self.audit_store, find_key_name=lambda key_id: f"key {key_id}", clock=self.clock, sleep=self.sleep
        )

    @property
    def usage_plan_keys(self) -> UsagePlanKeys:
        default_limits = UsageLimits(10, 20) if self.has_usage_plans else None
        return UsagePlanKeys(self.gateway, default_limits=default_limits)

    @property
    def router(self) -> Router:
        router = Router()
        add_admin_routes(router, self._build_services())
        return router

    def _build_services(self) -> AdminServices:
        keys = self._build_keys()
        trail = AuditTrail(self.audit_store, self.audit.close_abandoned)
        return AdminServices(
            keys=keys,
            tenants=self._build_tenants(),
            erasures=self._build_erasures(),
            model_entries=ModelEntryService(
                self.model_entries,
                self.audit,
                InputChecker(self.schemas).find_entry_errors,
                on_changed=self.concurrency.service.advance_models,
            ),
            concurrency=self.concurrency.service,
            dead_letters=self.dead_letters,
            batches=BatchList(
                DynamoBatchStore(self.dynamodb, JOBS_TABLE, self.jobs),
                DynamoBatchCounts(self.dynamodb, USAGE_TABLE),
            ),
            queues=self.queue_monitor,
            replicate=self.replicate_status,
            replays=ReplayService(self.replays, ["harvest", "track"], clock=self.clock, audit=self.audit),
            breaker=BreakerService(self.breaker, self.audit),
            redeliveries=AuditedRedeliveries(FakeRedeliveries(), self.audit),
            webhook_secret=WebhookSecretService(self.webhook_secret, self.audit),
            usage=UsageReader(self.usage),
            pauses=self._build_pauses(),
            audit=trail,
            jobs=self.jobs,
            job_search=self.job_search,
            job_actions=self.job_actions,
            job_retries=self.job_retries,
            bulk=self.bulk,
            storyteller=self._build_storyteller(trail),
            renderer=PredictionRenderer(self.documents),
            budgets=BudgetService(store=self.budgets, keys=keys, clock=self.clock, audit=self.audit),
            accounts=self.accounts.service,
            get_account_breaker=lambda _tenant, _name: self.breaker,
            clock=self.clock,
        )

    def _build_keys(self) -> KeyService:
        return KeyService(
            store=self.keys,
            gateway=self.gateway,
            usage_plan_keys=self.usage_plan_keys,
            load_digest_key=lambda: DIGEST_KEY,
            clock=self.clock,
            authorizer_cache_ttl=timedelta(seconds=60),
            audit=self.audit,
            find_budget=self.budgets.find_budget,
            find_tenant=self.tenants.get,
        )

    def _build_tenants(self) -> TenantService:
        return TenantService(
            store=self.tenants,
            usage_plan_keys=self.usage_plan_keys,
            clock=self.clock,
            audit=self.audit,
            max_retention_days=30,
            can_sign_urls=self.can_sign_urls,
        )

    def _build_pauses(self) -> PauseService:
        stores = {
            PausedActivity.PREDICTIONS: self.pauses,
            PausedActivity.DELIVERIES: self.delivery_pauses,
        }
        return PauseService(stores=stores, clock=self.clock, audit=self.audit)

    def _build_storyteller(self, trail: AuditTrail) -> JobStoryteller:
        return JobStoryteller(
            jobs=self.jobs,
            load_files=PredictionRenderer(self.documents).load_files,
            deliveries=self.deliveries,
            audit=trail,
            stack_name="proxy",
        )

    @property
    def job_search(self) -> JobSearch:
        return JobSearch(self.job_index, UsageReader(self.usage), self.clock)

    @property
    def bulk_store(self) -> DynamoBulkStore:
        return DynamoBulkStore(self.dynamodb, JOBS_TABLE, self.clock, retention_days=30)

    @property
    def bulk(self) -> BulkService:
        return BulkService(
            store=self.bulk_store,
            search=self.job_search,
            idempotency=DynamoIdempotencyStore(self.dynamodb, JOBS_TABLE),
            starter=self.worker_starter,
            audit=self.audit,
            clock=self.clock,
        )

    @property
    def bulk_worker(self) -> BulkWorker:
        return BulkWorker(
            store=self.bulk_store,
            jobs=self.jobs,
            actions=build_actions(self.job_actions, self.job_retries),
            lease=Lease(ControlTable(self.dynamodb, CONTROL_TABLE), "bulk-operations", self.clock),
            audit=self.audit,
            clock=self.clock,
            sleep=self.sleep,
            checkpoint=self.checkpoint,
        )

    @property
    def updater(self) -> JobUpdater:
        return JobUpdater(self.jobs, self.clock, JobTimeouts())

    @property
    def job_actions(self) -> JobActions:
        return JobActions(
            jobs=self.jobs,
            documents=self.documents,
            canceler=JobCanceler(self.updater, self.commands),
            deliveries=self.deliveries,
            redeliverer=RedeliveryService(
                deliveries=self.deliveries,
                endpoints=DynamoEndpointStore(self.dynamodb, DELIVERIES_TABLE),
                queue=self.delivery_queue,
                clock=self.clock,
                settings=DeliverySettings(),
            ),
            harvest_queue=self.harvests,
            deleter=JobDeleter(
                DynamoDeletionStore(
                    self.dynamodb, JOBS_TABLE, DynamoBatchStore(self.dynamodb, JOBS_TABLE, self.jobs)
                ),
                self.clock,
            ),
            audit=self.audit,
            clock=self.clock,
        )

    @property
    def job_retries(self) -> JobRetries:
        creator = JobCreator(
            store=self.jobs,
            idempotency=RetryReservations(self.updater),
            factory=JobFactory(self.documents, JobTimeouts()),
            queue=self.commands,
            clock=self.clock,
            budgets=build_budget_gate(
                DynamoBudgetedJobs(self.dynamodb, USAGE_TABLE, JOBS_TABLE),
                self.clock,
                CostBounds(load_price_book(), MICRO_PER_USD).estimate,
            ),
            checkpoint=self.checkpoint,
        )
        parser = JobRequestParser(
            ParserSettings(),
            lambda *_: None,
            entries=self.entries,
            check_pause=self.check_pause,
            find_tenant=lambda name: self.tenants.get(name) or Tenant(name),
        )
        return JobRetries(
            jobs=self.jobs,
            documents=self.documents,
            creator=creator,
            build_request=parser.parse_retry,
            audit=self.audit,
        )

    def _build_erasures(self) -> ErasureService:
        return ErasureService(
            store=DynamoErasureStore(self.dynamodb, JOBS_TABLE),
            tenants=self.tenants,
            keys=self.keys,
            jobs=self.jobs,
            access=StoredTenantAccess(
                tenants=self.tenants,
                keys=self.keys,
                usage_plan_keys=self.usage_plan_keys,
                gateway=self.gateway,
                clock=self.clock,
            ),
            starter=self.worker_starter,
            audit=self.audit,
            clock=self.clock,
        )

    @property
    def webhook_secret(self) -> WebhookSecretRefresher:
        return WebhookSecretRefresher(lambda: self.secret, self.parameter)

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        /,
        *,
        scopes: str | None = "admin",
        if_match: str | None = None,
        idempotency_key: str | None = None,
        **query: str,
    ) -> tuple[int, Any]:
        """Send a request to /admin/<path>; return the status and the parsed body."""
        named = {"If-Match": if_match, "Idempotency-Key": idempotency_key}
        headers = {name: value for name, value in named.items() if value is not None}
        response = self.send(method, path, body, scopes=scopes, headers=headers, query=query)
        return response["statusCode"], json.loads(response["body"]) if response["body"] else None

    def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        scopes: str | None = "admin",
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
    ) -> Response:
        """Send a request to /admin/<path>."""
        caller = None if scopes is None else {"tenant": "operator", "key_id": "op", "scopes": scopes}
        return handle_as_actor(
            self.router,
            {
                "httpMethod": method,
                "resource": "/admin/{proxy+}",
                "path": f"/admin/{path}",
                "pathParameters": {"proxy": path},
                "queryStringParameters": dict(query) if query else None,
                "headers": {"User-Agent": self.user_agent, **(headers or {})},
                "body": None if body is None else json.dumps(body),
                "requestContext": {"apiId": "api123", "stage": "prod", "authorizer": caller},
            },
        )
