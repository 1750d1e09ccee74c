"""Concurrency limits and their slots, for the functions that acquire, free and show them."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from replicate_proxy.aws.clients import get_client
from replicate_proxy.aws.model_entry_store import DynamoModelEntryStore
from replicate_proxy.aws.queues import SqsCommandQueue
from replicate_proxy.aws.slot_store import DynamoSlotStore
from replicate_proxy.aws.tenant_limit_store import DynamoTenantLimitStore
from replicate_proxy.bootstrap.control import build_model_entries
from replicate_proxy.bootstrap.control_table import build_control_table
from replicate_proxy.bootstrap.environment import clock, env
from replicate_proxy.concurrency.gate import SlotGate
from replicate_proxy.concurrency.limits import ConcurrencyLimits
from replicate_proxy.concurrency.line import WaitingLine
from replicate_proxy.concurrency.releases import SlotReleaser
from replicate_proxy.model_entries.directory import ModelEntryDirectory
from replicate_proxy.settings import (
    BATCH_DISPATCH_QUEUE_URL,
    CONTROL_TABLE,
    DISPATCH_QUEUE_URL,
    REPLICATE_PROXY_TABLE,
    TENANT_MAX_CONCURRENCY,
)

if TYPE_CHECKING:
    from replicate_proxy.audit.log import AuditLog
    from replicate_proxy.operations.concurrency import ConcurrencyService


@cache
def build_slot_store() -> DynamoSlotStore:
    return DynamoSlotStore(
        get_client("dynamodb"), control_table=env[CONTROL_TABLE], jobs_table=env[REPLICATE_PROXY_TABLE]
    )


@cache
def build_concurrency_limits() -> ConcurrencyLimits:
    return ConcurrencyLimits(
        DynamoTenantLimitStore(build_control_table()),
        build_model_entries(),
        default_for_tenants=env[TENANT_MAX_CONCURRENCY],
    )


@cache
def build_line() -> WaitingLine:
    queue = SqsCommandQueue(get_client("sqs"), env[DISPATCH_QUEUE_URL], env[BATCH_DISPATCH_QUEUE_URL])
    return WaitingLine(build_slot_store(), build_concurrency_limits(), queue)


@cache
def build_slot_gate() -> SlotGate:
    # Imported here so that functions that only read do not load the updater and its price book.
    from replicate_proxy.bootstrap.jobs import build_job_timeouts, build_job_updater  # noqa: PLC0415

    return SlotGate(
        updater=build_job_updater(),
        store=build_slot_store(),
        limits=build_concurrency_limits(),
        line=build_line(),
        clock=clock,
        timeouts=build_job_timeouts(),
    )


@cache
def build_slot_releaser() -> SlotReleaser:
    return SlotReleaser(build_slot_store(), build_line())


def build_concurrency_service(audit: AuditLog) -> ConcurrencyService:
    """Return what administers limits: it reads them without a cache, after its own changes."""
    # Imported here so that functions that only hold slots do not load the audit log.
    from replicate_proxy.operations.concurrency import ConcurrencyService  # noqa: PLC0415

    tenants = DynamoTenantLimitStore(build_control_table())
    entries = ModelEntryDirectory(DynamoModelEntryStore(build_control_table()), cache_seconds=0)
    limits = ConcurrencyLimits(
        tenants, entries, default_for_tenants=env[TENANT_MAX_CONCURRENCY], cache_seconds=0
    )
    queue = SqsCommandQueue(get_client("sqs"), env[DISPATCH_QUEUE_URL], env[BATCH_DISPATCH_QUEUE_URL])
    line = WaitingLine(build_slot_store(), limits, queue)
    return ConcurrencyService(
        tenants=tenants, store=build_slot_store(), limits=limits, line=line, audit=audit
    )
