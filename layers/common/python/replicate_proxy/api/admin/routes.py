"""All routes of the admin API (`/admin/…`). Every route requires the scope admin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicate_proxy.api.admin.accounts import add_account_routes
from replicate_proxy.api.admin.audit import add_audit_routes
from replicate_proxy.api.admin.batches import add_admin_batch_routes
from replicate_proxy.api.admin.budgets import add_budget_routes
from replicate_proxy.api.admin.bulk_operations import add_bulk_operation_routes
from replicate_proxy.api.admin.concurrency import add_concurrency_routes
from replicate_proxy.api.admin.dead_letters import add_dead_letter_routes
from replicate_proxy.api.admin.erasures import add_erasure_routes
from replicate_proxy.api.admin.job_actions import add_job_action_routes
from replicate_proxy.api.admin.jobs import add_job_routes
from replicate_proxy.api.admin.keys import add_key_routes
from replicate_proxy.api.admin.models import add_model_entry_routes
from replicate_proxy.api.admin.operations import (
    add_breaker_routes,
    add_redelivery_routes,
    add_webhook_secret_routes,
)
from replicate_proxy.api.admin.pauses import add_pause_routes
from replicate_proxy.api.admin.replays import add_replay_routes
from replicate_proxy.api.admin.status import add_status_routes
from replicate_proxy.api.admin.tenants import add_tenant_routes
from replicate_proxy.api.admin.usage import add_admin_usage_routes

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicate_proxy.api.routing import Router
    from replicate_proxy.audit.trail import AuditTrail
    from replicate_proxy.operations.accounts import AccountService
    from replicate_proxy.operations.breaker import BreakerService
    from replicate_proxy.operations.budgets import BudgetService
    from replicate_proxy.operations.bulk.service import BulkService
    from replicate_proxy.operations.concurrency import ConcurrencyService
    from replicate_proxy.operations.dead_letters import DeadLetterService
    from replicate_proxy.operations.erasure.service import ErasureService
    from replicate_proxy.operations.job_actions import JobActions
    from replicate_proxy.operations.job_retries import JobRetries
    from replicate_proxy.operations.job_search import JobSearch
    from replicate_proxy.operations.job_story import JobStoryteller
    from replicate_proxy.operations.keys import KeyService
    from replicate_proxy.operations.model_entries import ModelEntryService
    from replicate_proxy.operations.pauses import PauseService
    from replicate_proxy.operations.ports import BreakerControl, Redeliveries
    from replicate_proxy.operations.queues import QueueMonitor
    from replicate_proxy.operations.redeliveries import WebhookSecretService
    from replicate_proxy.operations.replays import ReplayService
    from replicate_proxy.operations.replicate_status import ReplicateStatusService
    from replicate_proxy.operations.tenants import TenantService
    from replicate_proxy.ports import Clock, JobReader
    from replicate_proxy.services.batch_list import BatchList
    from replicate_proxy.services.rendering import PredictionRenderer
    from replicate_proxy.usage.report import UsageReader


@dataclass(frozen=True)
class AdminServices:
    """The services behind the admin API."""

    keys: KeyService
    tenants: TenantService
    erasures: ErasureService
    model_entries: ModelEntryService
    concurrency: ConcurrencyService
    dead_letters: DeadLetterService
    batches: BatchList
    queues: QueueMonitor
    replicate: ReplicateStatusService
    replays: ReplayService
    breaker: BreakerService
    redeliveries: Redeliveries
    webhook_secret: WebhookSecretService
    usage: UsageReader
    budgets: BudgetService
    pauses: PauseService
    audit: AuditTrail
    jobs: JobReader
    job_search: JobSearch
    storyteller: JobStoryteller
    job_actions: JobActions
    job_retries: JobRetries
    bulk: BulkService
    renderer: PredictionRenderer
    accounts: AccountService
    get_account_breaker: Callable[[str, str], BreakerControl]
    clock: Clock


def add_admin_routes(router: Router, services: AdminServices) -> None:
    """Register every route of the admin API."""
    add_key_routes(router, services.keys)
    add_tenant_routes(router, services.tenants)
    add_erasure_routes(router, services.erasures)
    add_model_entry_routes(router, services.model_entries)
    add_concurrency_routes(router, services.concurrency)
    add_dead_letter_routes(router, services.dead_letters)
    add_admin_batch_routes(router, services.batches, services.clock)
    add_status_routes(router, services.queues, services.replicate)
    add_replay_routes(router, services.replays)
    add_breaker_routes(router, services.breaker)
    add_redelivery_routes(router, services.redeliveries)
    add_webhook_secret_routes(router, services.webhook_secret)
    add_budget_routes(router, services.budgets)
    add_pause_routes(router, services.pauses)
    add_audit_routes(router, services.audit)
    add_job_routes(
        router,
        search=services.job_search,
        jobs=services.jobs,
        storyteller=services.storyteller,
        renderer=services.renderer,
        clock=services.clock,
    )
    add_account_routes(router, services.accounts, services.get_account_breaker)
    add_job_action_routes(router, services.job_actions, services.job_retries)
    add_bulk_operation_routes(router, services.bulk, services.clock)
    add_admin_usage_routes(router, services.usage, services.clock)
