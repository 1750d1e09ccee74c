"""Concurrency limits: what acquires slots, passes them on, and repairs them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicate_proxy.aws.slot_store import DynamoSlotStore
from replicate_proxy.concurrency.gate import SlotGate
from replicate_proxy.concurrency.limits import CACHE_SECONDS, ConcurrencyLimits
from replicate_proxy.concurrency.line import WaitingLine
from replicate_proxy.concurrency.repair import SlotRepair
from replicate_proxy.operations.concurrency import ConcurrencyService
from tools.simulation.concurrency_invariants import StaticEntries
from tools.simulation.resources import Table

if TYPE_CHECKING:
    from tools.simulation.functions.components import Components


def build_limits(components: Components, *, cache_seconds: float = CACHE_SECONDS) -> ConcurrencyLimits:
    return ConcurrencyLimits(
        components.tenant_limits,
        StaticEntries(),
        cache_seconds=cache_seconds,
        monotonic=lambda: components.scheduler.now,
    )


def build_line(components: Components, limits: ConcurrencyLimits) -> WaitingLine:
    return WaitingLine(components.slots, limits, components.dispatch_queue)


def build_concurrency_service(components: Components) -> ConcurrencyService:
    """Return what operators do about the limits, with nothing cached."""
    limits = build_limits(components, cache_seconds=0)
    return ConcurrencyService(
        tenants=components.tenant_limits,
        store=components.slots,
        limits=limits,
        line=build_line(components, limits),
        audit=components.audit,
    )


def build_gate(components: Components) -> SlotGate | None:
    if not components.features.has_limits:
        return None
    limits = build_limits(components)
    return SlotGate(
        updater=components.updater,
        store=components.slots,
        limits=limits,
        line=build_line(components, limits),
        clock=components.clock,
        timeouts=components.timeouts,
    )


class _NoLines(DynamoSlotStore):
    """Has no line to repair, and makes no call: for runs without limits."""

    def list_lines(self) -> list[str]:
        return []


def build_repair(components: Components) -> SlotRepair:
    limits = build_limits(components)
    no_lines = _NoLines(components.aws.client("dynamodb"), control_table=Table.CONTROL, jobs_table=Table.JOBS)
    return SlotRepair(
        store=components.slots if components.features.has_limits else no_lines,
        jobs=components.jobs,
        limits=limits,
        line=build_line(components, limits),
        clock=components.clock,
    )
