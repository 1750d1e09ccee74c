"""Concurrency limits: what acquires slots, passes them on, and repairs them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicate_proxy.aws.slot_store import DynamoSlotStore
from replicate_proxy.concurrency.gate import SlotGate
from replicate_proxy.concurrency.limits import ConcurrencyLimits
from replicate_proxy.concurrency.line import WaitingLine
from replicate_proxy.concurrency.repair import SlotRepair
from tools.simulation.concurrency_invariants import StaticEntries
from tools.simulation.resources import Table

if TYPE_CHECKING:
    from tools.simulation.functions.components import Components


def build_limits(components: Components) -> ConcurrencyLimits:
    return ConcurrencyLimits(
        components.tenant_limits, StaticEntries(), monotonic=lambda: components.scheduler.now
    )


def build_line(components: Components, limits: ConcurrencyLimits) -> WaitingLine:
    return WaitingLine(components.slots, limits, components.dispatch_queue)


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
