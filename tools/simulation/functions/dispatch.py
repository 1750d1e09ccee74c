"""The dispatch function."""

from __future__ import annotations

from replicate_proxy.accounts.per_account import PerAccount
from replicate_proxy.batches.canceled import CanceledBatches
from replicate_proxy.contracts.stream_urls import StreamUrlBuilder
from replicate_proxy.pauses.pause import PausedActivity
from replicate_proxy.replicate_api.predictions import UpstreamPredictionWriter
from replicate_proxy.replicate_api.rate_limit import RateLimit
from replicate_proxy.services.dispatch import Dispatcher
from replicate_proxy.services.progress_refresh import ProgressRefresher
from replicate_proxy.services.reports import ReportPublisher
from replicate_proxy.services.schema_refresh import SchemaRefresher
from tools.simulation.functions.components import OUTPUTS_BASE_URL, STREAM_KEY, Components
from tools.simulation.functions.concurrency import build_gate
from tools.simulation.functions.job_creation import build_batch_store
from tools.simulation.functions.replicate_access import (
    build_account_finder,
    build_breaker,
    build_client,
    build_known_models,
    build_limiters,
    build_readers,
    build_schemas,
)
from tools.simulation.replicate import STREAM_HOST_URL


def build_dispatch(components: Components) -> Dispatcher:
    limiters = build_limiters(components, "creates", components.rate_limit)
    batch_limiters = build_limiters(
        components, "creates", components.rate_limit, reserve=components.rate_limit.burst // 2
    )
    canceled = CanceledBatches(build_batch_store(components), monotonic=lambda: components.scheduler.now)
    return Dispatcher(
        updater=components.updater,
        documents=components.documents,
        queue=components.dispatch_queue,
        get_client=PerAccount(
            lambda account: UpstreamPredictionWriter(
                build_client(components, account),
                build_breaker(components, account),
                limiters.of(account),
                batch_limiters.of(account),
                components.scheduler.sleep,
            )
        ).of,
        urls=components.urls,
        clock=components.clock,
        timeouts=components.timeouts,
        known_models=build_known_models(components),
        refresher=_build_refresher(components),
        schemas=_build_schema_refresher(components),
        streams=StreamUrlBuilder(OUTPUTS_BASE_URL, STREAM_HOST_URL, STREAM_KEY),
        concurrency=build_gate(components),
        find_pause=components.build_pause_finder(PausedActivity.PREDICTIONS),
        is_batch_canceled=canceled.is_canceled,
        find_account=build_account_finder(components),
        checkpoint=components.checkpoint,
    )


def _build_schema_refresher(components: Components) -> SchemaRefresher | None:
    if not components.plan.input_validation_enabled:
        return None
    return SchemaRefresher(build_schemas(components), build_readers(components).of, components.dispatch_queue)


def _build_refresher(components: Components) -> ProgressRefresher | None:
    """Return what reads the end of a canceled stream."""
    if not components.plan.streams_enabled:
        return None
    return ProgressRefresher(
        get_reader=build_readers(components).of,
        get_limiter=build_limiters(components, "progress", RateLimit(900, 60)).of,
        reports=ReportPublisher(components.bus, components.documents),
        clock=components.clock,
    )
