"""What operators see of queues and of Replicate, and the replays of archived events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicate_proxy.aws.account_store import DynamoAccountStore
from replicate_proxy.aws.clients import get_client
from replicate_proxy.aws.dead_letter_queues import SqsQueueClient
from replicate_proxy.aws.event_replays import ArchiveAddresses, EventBridgeReplays
from replicate_proxy.aws.queue_ages import CloudWatchQueueAges
from replicate_proxy.aws.secrets import SsmParameter
from replicate_proxy.bootstrap.control_table import build_control_table
from replicate_proxy.bootstrap.environment import clock, env
from replicate_proxy.bootstrap.replicate import (
    build_circuit_breakers,
    build_create_limiters,
    build_read_limiters,
)
from replicate_proxy.bootstrap.replicate_clients import build_replicate_clients
from replicate_proxy.bootstrap.secrets import name_tenant_webhook_secret
from replicate_proxy.net.deadline import Deadline
from replicate_proxy.operations.queues import QueueMonitor
from replicate_proxy.operations.replays import ReplayService
from replicate_proxy.operations.replicate_status import ReplicateStatusService
from replicate_proxy.settings import (
    EVENT_ARCHIVE_ARN,
    EVENT_BUS,
    HARVEST_RULE_ARN,
    REPLICATE_WEBHOOK_SECRET,
    TRACK_RULE_ARN,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from replicate_proxy.audit.log import AuditLog
    from replicate_proxy.jobs.model import Account
    from replicate_proxy.operations.dead_letters import DeadLetterQueue
    from replicate_proxy.operations.job_search import JobSearch
    from replicate_proxy.replicate_api.rate_limit import RateLimitState

# A page must not wait longer for Replicate.
_TOKEN_CHECK_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class _StoredAccount:
    """The AccountReader port."""

    account: Account

    def read_creates(self) -> RateLimitState:
        return build_create_limiters().of(self.account).read_state()

    def read_reads(self) -> RateLimitState:
        return build_read_limiters().of(self.account).read_state()

    def get_name(self) -> str:
        client = build_replicate_clients().of(self.account)
        return client.get_account_name(deadline=Deadline(_TOKEN_CHECK_SECONDS))

    def read_webhook_secret_time(self) -> datetime | None:
        is_shared = self.account.is_shared
        name = env[REPLICATE_WEBHOOK_SECRET] if is_shared else name_tenant_webhook_secret(self.account)
        return SsmParameter(get_client("ssm"), name).read_modified_at()


def build_queue_monitor(queues: Mapping[str, DeadLetterQueue]) -> QueueMonitor:
    return QueueMonitor(
        SqsQueueClient(get_client("sqs")), CloudWatchQueueAges(get_client("cloudwatch"), clock), queues
    )


def build_replicate_status(search: JobSearch) -> ReplicateStatusService:
    return ReplicateStatusService(
        accounts=DynamoAccountStore(build_control_table()),
        get_reader=_StoredAccount,
        get_breaker=build_circuit_breakers().of,
        search=search,
        clock=clock,
    )


def build_replay_service(audit: AuditLog) -> ReplayService:
    rules = {"harvest": env[HARVEST_RULE_ARN], "track": env[TRACK_RULE_ARN]}
    archive = env[EVENT_ARCHIVE_ARN]
    # The bus has the same region and account (Service Authorization Reference, Amazon EventBridge).
    bus = f"{archive.rpartition(':')[0]}:event-bus/{env[EVENT_BUS]}"
    addresses = ArchiveAddresses(archive, bus, rules)
    replays = EventBridgeReplays(get_client("events"), addresses) if addresses.archive else None
    return ReplayService(replays, list(rules), clock=clock, audit=audit)
