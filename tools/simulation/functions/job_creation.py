"""What creates jobs: settings of tenants, the check of inputs, budgets, stores, and URLs of streams."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicate_proxy.auth.tenants import CachedTenants, Tenant
from replicate_proxy.aws.batch_store import DynamoBatchStore
from replicate_proxy.aws.budget_store import DynamoBudgetedJobs
from replicate_proxy.aws.idempotency_store import DynamoIdempotencyStore
from replicate_proxy.aws.tenant_store import DynamoTenantStore
from replicate_proxy.budgets.alerts import BudgetAlerts
from replicate_proxy.budgets.gate import BudgetGate
from replicate_proxy.services.cost_bounds import CostBounds
from replicate_proxy.services.ingest import JobFactory
from replicate_proxy.services.input_check import InputChecker, accept_all
from replicate_proxy.services.stream_urls import KnownStreams
from tools.simulation.budget_invariants import CEILING_MICRO_USD
from tools.simulation.cost_invariants import PRICES
from tools.simulation.functions.components import STREAM_KEY
from tools.simulation.functions.replicate_access import (
    build_account_finder,
    build_known_models,
    build_schemas,
)
from tools.simulation.resources import Table

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicate_proxy.services.input_check import CheckInput
    from tools.simulation.functions.components import Components


def build_tenant_finder(components: Components) -> Callable[[str], Tenant]:
    """Return how functions read the settings of a tenant, which only runs with erasures do."""
    if not components.features.has_erasures:
        return Tenant
    store = DynamoTenantStore(components.aws.client("dynamodb"), Table.ACCESS)
    return CachedTenants(store, components.clock).get_known


def build_streams(components: Components) -> KnownStreams:
    return KnownStreams(build_known_models(components), lambda: STREAM_KEY, build_account_finder(components))


def build_job_factory(components: Components) -> JobFactory:
    streams = build_streams(components)
    return JobFactory(components.documents, components.timeouts, streams.find_url)


def build_input_check(components: Components) -> CheckInput:
    return (
        InputChecker(build_schemas(components)).check
        if components.plan.input_validation_enabled
        else accept_all
    )


def build_budget_gate(components: Components) -> BudgetGate:
    budgeted_jobs = DynamoBudgetedJobs(components.aws.client("dynamodb"), Table.USAGE, Table.JOBS)
    return BudgetGate(
        store=budgeted_jobs,
        alerts=BudgetAlerts(budgeted_jobs, components.bus, components.clock),
        estimate=CostBounds(PRICES, CEILING_MICRO_USD, build_schemas(components).find_fields).estimate,
        clock=components.clock,
        sleep=components.scheduler.sleep,
        random_fraction=components.draw_fraction,
    )


def build_batch_store(components: Components) -> DynamoBatchStore:
    return DynamoBatchStore(components.aws.client("dynamodb"), Table.JOBS, components.jobs)


def build_idempotency_store(components: Components) -> DynamoIdempotencyStore:
    return DynamoIdempotencyStore(components.aws.client("dynamodb"), Table.JOBS)
