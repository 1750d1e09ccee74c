"""What several functions are composed of: stores, queues, the clock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicate_proxy.aws.budget_store import DynamoBudgetStore
from replicate_proxy.aws.control_table import ControlTable
from replicate_proxy.aws.delivery_store import DynamoDeliveryStore
from replicate_proxy.aws.document_store import S3DocumentStore
from replicate_proxy.aws.endpoint_store import DynamoEndpointStore, DynamoSigningSecretStore
from replicate_proxy.aws.event_bus import EventBridgeBus
from replicate_proxy.aws.job_store import DynamoJobStore
from replicate_proxy.aws.key_store import DynamoKeyStore
from replicate_proxy.aws.queues import SqsCommandQueue, SqsDeliveryQueue, SqsHarvestQueue
from replicate_proxy.aws.receiver_limit_store import DynamoReceiverLimitStore
from replicate_proxy.aws.slot_store import DynamoSlotStore
from replicate_proxy.aws.tenant_limit_store import DynamoTenantLimitStore
from replicate_proxy.jobs.timeouts import JobTimeouts
from replicate_proxy.jobs.updater import JobUpdater
from replicate_proxy.pauses.pause import PausedActivity
from replicate_proxy.replicate_api.callback_url import CallbackUrls
from replicate_proxy.services.job_costs import JobCosts
from replicate_proxy.webhooks.settings import DeliverySettings
from tools.simulation.audit_invariants import NoAuditLog
from tools.simulation.aws.queue_names import get_queue_url
from tools.simulation.cost_invariants import PRICES
from tools.simulation.functions.input_files import InputFiles
from tools.simulation.pauses import build_pause_switch, find_no_pause, refuse_nothing
from tools.simulation.resources import BUCKET, BUS, DUE_SHARDS, Queue, Table
from tools.simulation.timestamps import VirtualClock

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicate_proxy.audit.log import AuditLog
    from replicate_proxy.pauses.pause import Pause
    from replicate_proxy.replicate_api.rate_limit import RateLimit
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


@dataclass(frozen=True, slots=True)
class Features:
    """What is set up in a run."""

    has_limits: bool = False
    has_batches: bool = False
    has_own_accounts: bool = False
    has_deletions: bool = False
    has_pauses: bool = False
    has_erasures: bool = False
    has_bulk_operations: bool = False
    has_redeliveries: bool = False
    has_harvests: bool = False
    has_changes: bool = False
    has_late_redrives: bool = False

    @property
    def has_operations(self) -> bool:
        """Whether the admin function has work that it does page by page."""
        return self.has_erasures or self.has_bulk_operations


class Components:
    """What the functions of a run are composed of; `checkpoint` is passed to every service that has one."""

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
        self.aws = aws
        self.features = features
        self.scheduler = scheduler
        self.replicate = replicate
        self.plan = plan
        self.sender = sender
        self.checkpoint = checkpoint
        self.rate_limit = rate_limit
        self.clock = VirtualClock(scheduler)
        self.audit: AuditLog = NoAuditLog()
        self.timeouts = JobTimeouts(webhooks_enabled=plan.replicate_webhooks_enabled, **plan.timeouts)
        self.delivery_settings = DeliverySettings(
            due_shards=DUE_SHARDS, schedule_seconds=plan.schedule_seconds
        )
        self.urls = CallbackUrls(WEBHOOK_BASE_URL, ROOT_SECRET)
        self.files = InputFiles(aws, self.clock)
        self.bus = EventBridgeBus(aws.client("events"), BUS)
        self._open_stores(aws)
        self._open_queues(aws)
        self.updater = JobUpdater(
            self.jobs, self.clock, self.timeouts, calculate_cost=JobCosts(PRICES).calculate
        )

    def _open_stores(self, aws: InMemoryAws) -> None:
        s3 = aws.client("s3")
        self.documents = S3DocumentStore(lambda: s3, BUCKET, max_inline_bytes=self.plan.max_inline_bytes)
        dynamodb = aws.client("dynamodb")
        self.jobs = DynamoJobStore(dynamodb, Table.JOBS)
        self.deliveries = DynamoDeliveryStore(
            dynamodb, Table.DELIVERIES, due_shards=self.delivery_settings.due_shards
        )
        self.endpoints = DynamoEndpointStore(dynamodb, Table.DELIVERIES)
        self.signing_secrets = DynamoSigningSecretStore(dynamodb, Table.DELIVERIES)
        self.receiver_limits = DynamoReceiverLimitStore(dynamodb, Table.DELIVERIES, self.delivery_settings)
        self.budgets = DynamoBudgetStore(dynamodb, Table.USAGE)
        self.keys = DynamoKeyStore(dynamodb, Table.ACCESS)
        self.slots = DynamoSlotStore(dynamodb, control_table=Table.CONTROL, jobs_table=Table.JOBS)
        self.tenant_limits = DynamoTenantLimitStore(self.control_table())

    def _open_queues(self, aws: InMemoryAws) -> None:
        sqs = aws.client("sqs")
        self.dispatch_queue = SqsCommandQueue(
            sqs, get_queue_url(Queue.DISPATCH), get_queue_url(Queue.BATCH_DISPATCH)
        )
        self.harvest_queue = SqsHarvestQueue(sqs, get_queue_url(Queue.HARVEST))
        self.notify_queue = SqsDeliveryQueue(sqs, get_queue_url(Queue.NOTIFY))

    def control_table(self) -> ControlTable:
        return ControlTable(self.aws.client("dynamodb"), Table.CONTROL)

    def build_pause_finder(self, activity: PausedActivity) -> Callable[[str], Pause | None]:
        if not self.features.has_pauses:
            return find_no_pause
        return build_pause_switch(self.control_table(), activity, self.scheduler).find

    def build_pause_check(self) -> Callable[[str], None]:
        """Return what refuses the creates of a tenant."""
        if not self.features.has_pauses:
            return refuse_nothing
        return build_pause_switch(self.control_table(), PausedActivity.PREDICTIONS, self.scheduler).check

    def draw_fraction(self) -> float:
        actor = self.scheduler.current
        return actor.random.random() if actor is not None else 0.5
