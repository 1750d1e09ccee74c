"""The composition root of the dispatch function."""

from __future__ import annotations

from functools import cache

from replicate_proxy.aws.clients import get_client
from replicate_proxy.aws.endpoint_store import DynamoEndpointStore
from replicate_proxy.aws.event_bus import EventBridgeBus
from replicate_proxy.aws.queues import SqsCommandQueue
from replicate_proxy.batches.canceled import CanceledBatches
from replicate_proxy.bootstrap.concurrency import build_slot_gate
from replicate_proxy.bootstrap.control import (
    build_account_directory,
    build_known_models,
    build_known_schemas,
    build_pause_switch,
)
from replicate_proxy.bootstrap.documents import build_document_store
from replicate_proxy.bootstrap.environment import checkpoint, clock, env
from replicate_proxy.bootstrap.job_stores import build_batch_store
from replicate_proxy.bootstrap.jobs import build_job_timeouts, build_job_updater
from replicate_proxy.bootstrap.replicate import build_prediction_readers, build_prediction_writers
from replicate_proxy.bootstrap.replicate_clients import build_limiters
from replicate_proxy.bootstrap.secrets import load_root_secret, load_stream_signing_key
from replicate_proxy.contracts.stream_urls import StreamUrlBuilder
from replicate_proxy.replicate_api.callback_url import CallbackUrls
from replicate_proxy.replicate_api.rate_limit import RateLimit
from replicate_proxy.services.dispatch import Dispatcher
from replicate_proxy.services.progress_refresh import ProgressRefresher
from replicate_proxy.services.reports import ReportPublisher
from replicate_proxy.services.schema_refresh import SchemaRefresher
from replicate_proxy.services.start_reports import StartReports
from replicate_proxy.settings import (
    BATCH_DISPATCH_QUEUE_URL,
    DELIVERIES_TABLE,
    DISPATCH_LEASE_SECONDS,
    DISPATCH_QUEUE_URL,
    EVENT_BUS,
    OUTPUTS_BASE_URL,
    REPLICATE_STREAM_BASE_URL,
    REPORT_EVERY_START,
    WEBHOOK_BASE_URL,
)

# Up to 900 of the 2,400 reads a minute that the stack allows itself; the sweep has the rest.
_REFRESH_LIMIT = RateLimit(900, 60)


@cache
def build_dispatcher() -> Dispatcher:
    return Dispatcher(
        updater=build_job_updater(),
        documents=build_document_store(),
        queue=SqsCommandQueue(get_client("sqs"), env[DISPATCH_QUEUE_URL], env[BATCH_DISPATCH_QUEUE_URL]),
        get_client=build_prediction_writers().of,
        urls=CallbackUrls(env[WEBHOOK_BASE_URL], load_root_secret()),
        clock=clock,
        timeouts=build_job_timeouts(),
        known_models=build_known_models(),
        refresher=_build_refresher(),
        schemas=_build_schema_refresher(),
        streams=StreamUrlBuilder(
            env[OUTPUTS_BASE_URL], env[REPLICATE_STREAM_BASE_URL], load_stream_signing_key()
        ),
        find_pause=build_pause_switch().find,
        concurrency=build_slot_gate(),
        is_batch_canceled=CanceledBatches(build_batch_store()).is_canceled,
        find_account=build_account_directory().find,
        is_start_wanted=_build_start_reports().are_wanted,
        lease_seconds=env[DISPATCH_LEASE_SECONDS],
        checkpoint=checkpoint,
    )


def _build_start_reports() -> StartReports:
    endpoints = DynamoEndpointStore(get_client("dynamodb"), env[DELIVERIES_TABLE])
    return StartReports(endpoints.list_all, are_always_wanted=env[REPORT_EVERY_START])


def _build_schema_refresher() -> SchemaRefresher | None:
    schemas = build_known_schemas()
    if schemas is None:
        return None
    queue = SqsCommandQueue(get_client("sqs"), env[DISPATCH_QUEUE_URL])
    return SchemaRefresher(schemas, build_prediction_readers().of, queue)


def _build_refresher() -> ProgressRefresher:
    return ProgressRefresher(
        get_reader=build_prediction_readers().of,
        get_limiter=build_limiters("progress", _REFRESH_LIMIT).of,
        reports=ReportPublisher(EventBridgeBus(get_client("events"), env[EVENT_BUS]), build_document_store()),
        clock=clock,
    )
