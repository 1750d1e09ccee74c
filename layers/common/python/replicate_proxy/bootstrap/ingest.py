"""The composition root of the ingest function: routes that create and cancel predictions and batches."""

from __future__ import annotations

import time
from functools import cache
from random import SystemRandom
from typing import TYPE_CHECKING, Any

from replicate_proxy.api.predictions.create_routes import add_prediction_create_routes
from replicate_proxy.api.predictions.job_request_parser import JobRequestParser, ParserSettings
from replicate_proxy.api.routing import Router
from replicate_proxy.auth.tenants import Tenant
from replicate_proxy.aws.budget_store import DynamoBudgetedJobs
from replicate_proxy.aws.clients import get_client
from replicate_proxy.aws.event_bus import EventBridgeBus
from replicate_proxy.aws.idempotency_store import DynamoIdempotencyStore
from replicate_proxy.aws.queues import SqsCommandQueue
from replicate_proxy.aws.wait_limiter import ControlTableWaitLimiter
from replicate_proxy.bootstrap.control import (
    build_account_directory,
    build_known_models,
    build_known_schemas,
    build_model_entries,
    build_pause_switch,
)
from replicate_proxy.bootstrap.control_table import build_control_table
from replicate_proxy.bootstrap.documents import build_document_store
from replicate_proxy.bootstrap.environment import checkpoint, clock, env
from replicate_proxy.bootstrap.job_stores import build_job_store
from replicate_proxy.bootstrap.jobs import build_job_timeouts
from replicate_proxy.bootstrap.rendering import build_renderer
from replicate_proxy.bootstrap.secrets import load_file_signing_key, load_stream_signing_key
from replicate_proxy.bootstrap.tenants import find_tenant
from replicate_proxy.bootstrap.webhook_addresses import build_webhook_address_policy
from replicate_proxy.budgets.alerts import BudgetAlerts
from replicate_proxy.budgets.gate import BudgetGate
from replicate_proxy.costs.money import MICRO_PER_USD
from replicate_proxy.costs.shipped_prices import load_price_book
from replicate_proxy.files.signed_downloads import check_input_files
from replicate_proxy.services.cost_bounds import CostBounds
from replicate_proxy.services.ingest import JobCreator, JobFactory
from replicate_proxy.services.input_check import InputChecker, accept_all
from replicate_proxy.services.stream_urls import KnownStreams, StreamUrlWaiter
from replicate_proxy.services.wait import JobWaiter
from replicate_proxy.settings import (
    API_TIMEOUT_SECONDS,
    DISPATCH_QUEUE_URL,
    EVENT_BUS,
    JOB_COST_CEILING_USD,
    JOB_RETENTION_DAYS,
    MAX_WAIT_SECONDS,
    MAX_WAITING_REQUESTS,
    MAX_WAITING_REQUESTS_PER_TENANT,
    PUBLIC_BASE_URL,
    REPLICATE_PROXY_TABLE,
    STREAM_WAIT_SECONDS,
    USAGE_TABLE,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from replicate_proxy.auth.principal import Principal
    from replicate_proxy.ports import IdempotencyStore
    from replicate_proxy.services.input_check import CheckInput


@cache
def build_router() -> Router:
    """Build the routes once per execution environment."""
    router = Router(public_base_url=env[PUBLIC_BASE_URL])
    add_prediction_create_routes(
        router,
        parser=build_parser(find_tenant),
        creator=build_creator(),
        waiter=build_waiter(),
        stream_waiter=StreamUrlWaiter(_build_streams(), build_waiter(), env[STREAM_WAIT_SECONDS]),
        renderer=build_renderer(),
    )
    router.add_group("/v1/predictions/{id}", _add_prediction_ends)
    router.add_group("/v1/batches", _add_batch_writes)
    return router


def _add_prediction_ends(router: Router) -> None:
    from replicate_proxy.api.predictions.end_routes import add_prediction_end_routes  # noqa: PLC0415
    from replicate_proxy.bootstrap.cancel import build_canceler  # noqa: PLC0415 - see Router.add_group
    from replicate_proxy.bootstrap.deletion import build_deleter  # noqa: PLC0415

    add_prediction_end_routes(
        router, canceler=build_canceler(), deleter=build_deleter(), renderer=build_renderer()
    )


def _add_batch_writes(router: Router) -> None:
    from replicate_proxy.bootstrap.batch_writes import add_batch_writes  # noqa: PLC0415 - see Router.add_group

    add_batch_writes(router)


@cache
def build_creator(idempotency: IdempotencyStore | None = None) -> JobCreator:
    """Build what creates jobs, with the idempotency keys of callers unless others are given."""
    return JobCreator(
        store=build_job_store(),
        idempotency=idempotency or build_idempotency_store(),
        factory=build_factory(),
        queue=build_dispatch_queue(),
        clock=clock,
        budgets=build_budget_gate(),
        check_input=build_input_check(),
        checkpoint=checkpoint,
    )


@cache
def build_parser(get_tenant: Callable[[str], Tenant] = Tenant) -> JobRequestParser:
    """Build the parser; `get_tenant` reads the settings of tenants.

    The lines of a large batch have the retention of their batch, which an erasure cancels.
    """
    settings = ParserSettings(
        webhook_addresses=build_webhook_address_policy(), max_retention_days=env[JOB_RETENTION_DAYS]
    )
    return JobRequestParser(
        settings,
        _check_input,
        build_known_models(),
        build_model_entries(),
        build_pause_switch().check,
        build_account_directory().find,
        get_tenant,
    )


@cache
def build_dispatch_queue() -> SqsCommandQueue:
    return SqsCommandQueue(get_client("sqs"), env[DISPATCH_QUEUE_URL])


@cache
def build_idempotency_store() -> DynamoIdempotencyStore:
    return DynamoIdempotencyStore(get_client("dynamodb"), env[REPLICATE_PROXY_TABLE])


@cache
def build_waiter() -> JobWaiter:
    return JobWaiter(
        store=build_job_store(),
        clock=clock,
        sleep=time.sleep,
        max_wait_seconds=env[MAX_WAIT_SECONDS],
        api_timeout_seconds=env[API_TIMEOUT_SECONDS],
        limiter=ControlTableWaitLimiter(
            build_control_table(), clock, env[MAX_WAITING_REQUESTS], env[MAX_WAITING_REQUESTS_PER_TENANT]
        ),
    )


@cache
def _build_streams() -> KnownStreams:
    return KnownStreams(build_known_models(), load_stream_signing_key, build_account_directory().find)


@cache
def build_factory() -> JobFactory:
    return JobFactory(build_document_store(), build_job_timeouts(), _build_streams().find_url)


@cache
def build_input_check() -> CheckInput:
    schemas = build_known_schemas()
    return InputChecker(schemas).check if schemas is not None else accept_all


@cache
def build_budget_gate() -> BudgetGate:
    prices, ceiling = load_price_book(), round(env[JOB_COST_CEILING_USD] * MICRO_PER_USD)
    schemas = build_known_schemas()
    bounds = CostBounds(prices, ceiling, schemas.find_fields) if schemas else CostBounds(prices, ceiling)
    store = DynamoBudgetedJobs(get_client("dynamodb"), env[USAGE_TABLE], env[REPLICATE_PROXY_TABLE])
    return BudgetGate(
        store=store,
        alerts=BudgetAlerts(store, EventBridgeBus(get_client("events"), env[EVENT_BUS]), clock),
        estimate=bounds.estimate,
        clock=clock,
        sleep=time.sleep,
        random_fraction=SystemRandom().random,
    )


def _check_input(value: Mapping[str, Any], principal: Principal, base_url: str) -> None:
    check_input_files(
        value, principal, load_signing_key=load_file_signing_key, base_url=base_url, now=clock.now()
    )
