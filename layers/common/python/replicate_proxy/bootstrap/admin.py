"""The composition root of the admin function, including the deployment's dead-letter queues."""

from __future__ import annotations

import time
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING

from replicate_proxy.api.admin.routes import AdminServices, add_admin_routes
from replicate_proxy.api.routing import Router
from replicate_proxy.auth.keys import UsageLimits
from replicate_proxy.aws.account_store import DynamoAccountStore
from replicate_proxy.aws.api_gateway import ApiGateway
from replicate_proxy.aws.budget_store import DynamoBudgetStore
from replicate_proxy.aws.bulk_store import DynamoBulkStore
from replicate_proxy.aws.clients import get_client, get_waiting_client
from replicate_proxy.aws.dead_letter_queues import SqsQueueClient
from replicate_proxy.aws.erasure_store import DynamoErasureStore
from replicate_proxy.aws.idempotency_store import DynamoIdempotencyStore
from replicate_proxy.aws.invocations import FailedInvocations
from replicate_proxy.aws.job_index import DynamoJobIndex
from replicate_proxy.aws.key_store import DynamoKeyStore
from replicate_proxy.aws.lease import Lease
from replicate_proxy.aws.model_entry_store import DynamoModelEntryStore
from replicate_proxy.aws.pause_store import DynamoPauseStore
from replicate_proxy.aws.queues import SqsCommandQueue, SqsHarvestQueue
from replicate_proxy.aws.secrets import SsmParameter
from replicate_proxy.aws.tenant_store import DynamoTenantStore
from replicate_proxy.bootstrap.audit import build_audit_log, build_audit_trail
from replicate_proxy.bootstrap.batch_results import build_batch_counts
from replicate_proxy.bootstrap.bulk_worker import build_worker_starter
from replicate_proxy.bootstrap.concurrency import build_concurrency_service
from replicate_proxy.bootstrap.control import build_known_schemas
from replicate_proxy.bootstrap.control_table import build_control_table
from replicate_proxy.bootstrap.deletion import build_deleter
from replicate_proxy.bootstrap.delivery import build_delivery_store
from replicate_proxy.bootstrap.documents import build_document_store
from replicate_proxy.bootstrap.environment import checkpoint, clock, env
from replicate_proxy.bootstrap.ingest import build_creator, build_parser
from replicate_proxy.bootstrap.job_stores import build_batch_store, build_job_store
from replicate_proxy.bootstrap.jobs import build_job_updater
from replicate_proxy.bootstrap.private_urls import build_url_signer
from replicate_proxy.bootstrap.redelivery import build_redelivery_service
from replicate_proxy.bootstrap.replicate import build_circuit_breakers
from replicate_proxy.bootstrap.replicate_clients import build_client_with_token, build_replicate_clients
from replicate_proxy.bootstrap.secrets import (
    load_api_key_digest_key,
    name_tenant_token,
    name_tenant_webhook_secret,
)
from replicate_proxy.bootstrap.status import build_queue_monitor, build_replay_service, build_replicate_status
from replicate_proxy.bootstrap.tenants import find_tenant
from replicate_proxy.bootstrap.usage_reader import build_usage_reader
from replicate_proxy.jobs.model import SHARED_ACCOUNT, Account
from replicate_proxy.net.deadline import Deadline
from replicate_proxy.operations.accounts import AccountService
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
from replicate_proxy.operations.redeliveries import AuditedRedeliveries, WebhookSecretService
from replicate_proxy.operations.tenants import TenantService
from replicate_proxy.operations.usage_plans import UsagePlanKeys
from replicate_proxy.pauses.pause import PausedActivity
from replicate_proxy.replicate_api.webhook_secret import WebhookSecretRefresher
from replicate_proxy.services.batch_list import BatchList
from replicate_proxy.services.cancel import JobCanceler
from replicate_proxy.services.input_check import InputChecker
from replicate_proxy.services.rendering import PredictionRenderer
from replicate_proxy.settings import (
    ACCESS_TABLE,
    AUTHORIZER_CACHE_SECONDS,
    DEFAULT_BURST_LIMIT,
    DEFAULT_MONTHLY_QUOTA,
    DEFAULT_RATE_LIMIT,
    DISPATCH_QUEUE_URL,
    ENABLE_USAGE_PLANS,
    HARVEST_QUEUE_URL,
    JOB_RETENTION_DAYS,
    KMS_KEY_ID,
    PRIVATE_OUTPUTS_KEY_ID,
    PUBLIC_BASE_URL,
    QUEUES_PREFIX,
    REPLICATE_PROXY_TABLE,
    REPLICATE_WEBHOOK_SECRET,
    USAGE_PLAN_PREFIX,
    USAGE_TABLE,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from replicate_proxy.audit.log import AuditLog
    from replicate_proxy.config import Environment
    from replicate_proxy.operations.concurrency import ConcurrencyService


# Less than the 29 seconds of the function.
_SECRET_TIMEOUT_SECONDS = 15.0
# Queues that have a dead-letter queue
_QUEUES = ("dispatch", "batch-dispatch", "track", "harvest", "notify")
_STREAM_NOTE = "Holds positions in the table's stream; a redrive replays the changes, for 24 hours"
_SWEEP_NOTE = "Holds failed runs of the schedules; a redrive repeats them, as the next run does"


def build_dead_letter_queues(
    env: Environment, invocations: FailedInvocations
) -> Mapping[str, DeadLetterQueue]:
    """Return the dead-letter queues by the name that operators use."""

    def build_url(name: str) -> str:
        return f"{env[QUEUES_PREFIX]}{name}-dead-letters"

    source_urls = {name: f"{env[QUEUES_PREFIX]}{name}" for name in _QUEUES}
    return {
        **{name: DeadLetterQueue(build_url(name), source_url=url) for name, url in source_urls.items()},
        "bus": DeadLetterQueue(
            build_url("bus"),
            source_urls_by_target={url.rpartition("/")[2]: url for url in source_urls.values()},
        ),
        "notify-stream": DeadLetterQueue(
            build_url("notify-stream"), retry=invocations.retry, note=_STREAM_NOTE
        ),
        "sweep": DeadLetterQueue(build_url("sweep"), retry=invocations.retry, note=_SWEEP_NOTE),
    }


@cache
def build_router() -> Router:
    router = Router(public_base_url=env[PUBLIC_BASE_URL])
    add_admin_routes(router, build_admin_services())
    return router


@cache
def build_admin_services() -> AdminServices:
    """Build the services that the admin API and the console share."""
    renderer = PredictionRenderer(build_document_store(), sign_urls=build_url_signer().sign_urls)
    gateway = ApiGateway(get_client("apigateway"), prefix=env[USAGE_PLAN_PREFIX])
    budget_store = DynamoBudgetStore(get_client("dynamodb"), env[USAGE_TABLE])
    usage_plan_keys = UsagePlanKeys(gateway, default_limits=_build_default_limits(env))
    audit = build_audit_log()
    job_search = _build_job_search()
    keys = _build_keys(gateway, usage_plan_keys, budget_store, audit)
    concurrency = build_concurrency_service(audit)
    queues = build_dead_letter_queues(env, FailedInvocations(get_waiting_client()))
    return AdminServices(
        keys=keys,
        tenants=_build_tenant_service(usage_plan_keys, audit),
        erasures=_build_erasure_service(audit),
        model_entries=_build_model_entries(audit, concurrency),
        concurrency=concurrency,
        dead_letters=DeadLetterService(
            SqsQueueClient(get_client("sqs")), queues, clock=clock, sleep=time.sleep, audit=audit
        ),
        breaker=BreakerService(build_circuit_breakers().of(SHARED_ACCOUNT), audit),
        redeliveries=AuditedRedeliveries(build_redelivery_service(), audit),
        webhook_secret=WebhookSecretService(build_webhook_secret_refresher(), audit),
        usage=build_usage_reader(),
        pauses=_build_pause_service(audit),
        audit=build_audit_trail(),
        jobs=build_job_store(),
        job_search=job_search,
        batches=BatchList(build_batch_store(), build_batch_counts()),
        queues=build_queue_monitor(queues),
        replicate=build_replicate_status(job_search),
        replays=build_replay_service(audit),
        job_actions=_build_job_actions(audit),
        job_retries=_build_job_retries(audit),
        bulk=_build_bulk_service(job_search, audit),
        storyteller=_build_storyteller(renderer),
        renderer=renderer,
        budgets=BudgetService(store=budget_store, keys=keys, clock=clock, audit=audit),
        accounts=build_account_service(),
        get_account_breaker=lambda tenant, name: build_circuit_breakers().of(Account(tenant, name)),
        clock=clock,
    )


@cache
def build_bulk_worker() -> BulkWorker:
    audit = build_audit_log()
    return BulkWorker(
        store=_build_bulk_store(),
        jobs=build_job_store(),
        actions=build_actions(_build_job_actions(audit), _build_job_retries(audit)),
        lease=Lease(build_control_table(), "bulk-operations", clock),
        audit=audit,
        clock=clock,
        sleep=time.sleep,
        checkpoint=checkpoint,
    )


@cache
def build_account_service() -> AccountService:
    return AccountService(
        store=DynamoAccountStore(build_control_table()),
        connect=build_client_with_token,
        connect_stored=build_replicate_clients().of,
        get_token=lambda account: _build_parameter(name_tenant_token(account)),
        get_webhook_secret=lambda account: _build_parameter(name_tenant_webhook_secret(account)),
        clock=clock,
        audit=build_audit_log(),
    )


@cache
def build_webhook_secret_refresher() -> WebhookSecretRefresher:
    client = build_replicate_clients().of(SHARED_ACCOUNT)
    return WebhookSecretRefresher(
        lambda: client.get_webhook_secret(deadline=Deadline(_SECRET_TIMEOUT_SECONDS)),
        _build_parameter(env[REPLICATE_WEBHOOK_SECRET]),
    )


def _build_keys(
    gateway: ApiGateway, usage_plan_keys: UsagePlanKeys, budgets: DynamoBudgetStore, audit: AuditLog
) -> KeyService:
    return KeyService(
        store=DynamoKeyStore(get_client("dynamodb"), env[ACCESS_TABLE]),
        gateway=gateway,
        usage_plan_keys=usage_plan_keys,
        load_digest_key=load_api_key_digest_key,
        clock=clock,
        authorizer_cache_ttl=timedelta(seconds=env[AUTHORIZER_CACHE_SECONDS]),
        audit=audit,
        find_budget=budgets.find_budget,
        find_tenant=_build_tenant_store().get,
    )


def _build_tenant_service(usage_plan_keys: UsagePlanKeys, audit: AuditLog) -> TenantService:
    return TenantService(
        store=_build_tenant_store(),
        usage_plan_keys=usage_plan_keys,
        clock=clock,
        audit=audit,
        max_retention_days=env[JOB_RETENTION_DAYS],
        can_sign_urls=bool(env[PRIVATE_OUTPUTS_KEY_ID]),
    )


@cache
def build_tenant_access() -> StoredTenantAccess:
    gateway = ApiGateway(get_client("apigateway"), prefix=env[USAGE_PLAN_PREFIX])
    return StoredTenantAccess(
        tenants=_build_tenant_store(),
        keys=DynamoKeyStore(get_client("dynamodb"), env[ACCESS_TABLE]),
        usage_plan_keys=UsagePlanKeys(gateway, default_limits=_build_default_limits(env)),
        gateway=gateway,
        clock=clock,
    )


def _build_erasure_service(audit: AuditLog) -> ErasureService:
    return ErasureService(
        store=DynamoErasureStore(get_client("dynamodb"), env[REPLICATE_PROXY_TABLE]),
        tenants=_build_tenant_store(),
        keys=DynamoKeyStore(get_client("dynamodb"), env[ACCESS_TABLE]),
        jobs=build_job_store(),
        access=build_tenant_access(),
        starter=build_worker_starter(),
        audit=audit,
        clock=clock,
    )


def _build_tenant_store() -> DynamoTenantStore:
    return DynamoTenantStore(get_client("dynamodb"), env[ACCESS_TABLE], consistent=True)


def _build_job_search() -> JobSearch:
    index = DynamoJobIndex(get_client("dynamodb"), env[REPLICATE_PROXY_TABLE])
    return JobSearch(index, build_usage_reader(), clock)


def _build_pause_service(audit: AuditLog) -> PauseService:
    stores = {activity: DynamoPauseStore(build_control_table(), activity) for activity in PausedActivity}
    return PauseService(stores=stores, clock=clock, audit=audit)


def _build_bulk_service(search: JobSearch, audit: AuditLog) -> BulkService:
    return BulkService(
        store=_build_bulk_store(),
        search=search,
        idempotency=DynamoIdempotencyStore(get_client("dynamodb"), env[REPLICATE_PROXY_TABLE]),
        starter=build_worker_starter(),
        audit=audit,
        clock=clock,
    )


def _build_bulk_store() -> DynamoBulkStore:
    client, table = get_client("dynamodb"), env[REPLICATE_PROXY_TABLE]
    return DynamoBulkStore(client, table, clock, env[JOB_RETENTION_DAYS])


def _build_storyteller(renderer: PredictionRenderer) -> JobStoryteller:
    return JobStoryteller(
        jobs=build_job_store(),
        load_files=renderer.load_files,
        deliveries=build_delivery_store(),
        audit=build_audit_trail(),
        stack_name=env[USAGE_PLAN_PREFIX],
    )


def _build_job_actions(audit: AuditLog) -> JobActions:
    canceler = JobCanceler(build_job_updater(), SqsCommandQueue(get_client("sqs"), env[DISPATCH_QUEUE_URL]))
    return JobActions(
        jobs=build_job_store(),
        documents=build_document_store(),
        canceler=canceler,
        deliveries=build_delivery_store(),
        redeliverer=build_redelivery_service(),
        harvest_queue=SqsHarvestQueue(get_client("sqs"), env[HARVEST_QUEUE_URL]),
        deleter=build_deleter(),
        audit=audit,
        clock=clock,
    )


def _build_job_retries(audit: AuditLog) -> JobRetries:
    return JobRetries(
        jobs=build_job_store(),
        documents=build_document_store(),
        creator=build_creator(RetryReservations(build_job_updater())),
        build_request=build_parser(find_tenant).parse_retry,
        audit=audit,
    )


def _build_model_entries(audit: AuditLog, concurrency: ConcurrencyService) -> ModelEntryService:
    store, schemas = DynamoModelEntryStore(build_control_table()), build_known_schemas()
    if schemas is None:
        return ModelEntryService(store, audit, on_changed=concurrency.advance_models)
    find_errors = InputChecker(schemas).find_entry_errors
    return ModelEntryService(store, audit, find_errors, on_changed=concurrency.advance_models)


def _build_parameter(name: str) -> SsmParameter:
    return SsmParameter(get_client("ssm"), name, key_id=env[KMS_KEY_ID])


def _build_default_limits(env: Environment) -> UsageLimits | None:
    """Return the limits of callers without limits of their own, None if the stage has no usage plans."""
    if not env[ENABLE_USAGE_PLANS]:
        return None
    return UsageLimits(
        rate=env[DEFAULT_RATE_LIMIT],
        burst=env[DEFAULT_BURST_LIMIT],
        monthly_quota=env[DEFAULT_MONTHLY_QUOTA] or None,
    )
