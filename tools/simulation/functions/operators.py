"""What operators do: API keys, accounts of tenants, retries of jobs, and operations on many of them."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from replicate_proxy.api.predictions.job_request_parser import JobRequestParser, ParserSettings
from replicate_proxy.aws.account_store import DynamoAccountStore
from replicate_proxy.aws.api_gateway import ApiGateway
from replicate_proxy.aws.bulk_marks import BulkMarks
from replicate_proxy.aws.invocations import AsyncInvocation
from replicate_proxy.aws.secrets import SsmParameter
from replicate_proxy.background_worker import start_worker
from replicate_proxy.operations.accounts import AccountService
from replicate_proxy.operations.budgets import BudgetService
from replicate_proxy.operations.job_retries import JobRetries, RetryReservations
from replicate_proxy.operations.keys import KeyService
from replicate_proxy.operations.usage_plans import UsagePlanKeys
from replicate_proxy.services.ingest import JobCreator, JobFactory
from tools.simulation.audit_invariants import NoAuditLog
from tools.simulation.functions.authorize import AUTHORIZER_CACHE_SECONDS
from tools.simulation.functions.components import DIGEST_KEY, Components
from tools.simulation.functions.job_creation import build_budget_gate, build_tenant_finder
from tools.simulation.functions.replicate_access import (
    build_client,
    build_replicate_client,
    name_secret,
    name_token,
)
from tools.simulation.resources import ADMIN_FUNCTION, Table

if TYPE_CHECKING:
    from collections.abc import Callable


def build_keys(components: Components) -> KeyService:
    gateway = ApiGateway(components.aws.client("apigateway"), prefix="simulation")
    options: dict[str, Any] = {}
    if components.features.has_changes:
        options["find_budget"] = components.budgets.find_budget
    return KeyService(
        **options,
        store=components.keys,
        gateway=gateway,
        usage_plan_keys=UsagePlanKeys(gateway, default_limits=None),
        load_digest_key=lambda: DIGEST_KEY,
        clock=components.clock,
        authorizer_cache_ttl=timedelta(seconds=AUTHORIZER_CACHE_SECONDS),
        audit=components.audit,
    )


def build_budget_service(components: Components) -> BudgetService:
    return BudgetService(
        store=components.budgets,
        keys=build_keys(components),
        clock=components.clock,
        audit=components.audit,
    )


def build_accounts(components: Components) -> AccountService:
    """Return what operators do about the accounts of tenants."""
    ssm = components.aws.client("ssm")
    return AccountService(
        store=DynamoAccountStore(components.control_table()),
        connect=lambda token: build_replicate_client(components, lambda _: token),
        connect_stored=lambda account: build_client(components, account).client,
        get_token=lambda account: SsmParameter(ssm, name_token(account)),
        get_webhook_secret=lambda account: SsmParameter(ssm, name_secret(account)),
        clock=components.clock,
        audit=NoAuditLog(),
    )


def build_retries(components: Components) -> JobRetries:
    creator = JobCreator(
        store=components.jobs,
        idempotency=RetryReservations(components.updater),
        factory=JobFactory(components.documents, components.timeouts),
        queue=components.dispatch_queue,
        clock=components.clock,
        budgets=build_budget_gate(components),
        checkpoint=components.checkpoint,
    )
    parser = JobRequestParser(
        ParserSettings(),
        lambda *_: None,
        check_pause=components.build_pause_check(),
        find_tenant=build_tenant_finder(components),
    )
    return JobRetries(
        jobs=components.jobs,
        documents=components.documents,
        creator=creator,
        build_request=parser.parse_retry,
        audit=components.audit,
    )


def build_operation_starter(components: Components) -> AsyncInvocation:
    """Return what starts the worker of erasures and bulk operations."""
    return AsyncInvocation(components.aws.client("lambda"), ADMIN_FUNCTION, {"task": "work"})


def build_operation_restarter(components: Components) -> Callable[[], None]:
    """Return what the sweep does: start that worker if it has something to do."""
    marks = BulkMarks(components.aws.client("dynamodb"), Table.JOBS)
    starter = build_operation_starter(components)
    return lambda: start_worker(starter, has_work=lambda: marks.has_work(components.clock.now()))
