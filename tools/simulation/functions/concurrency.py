"""Concurrency limits: what acquires slots, passes them on, and repairs them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicate_proxy.concurrency.gate import SlotGate
from replicate_proxy.concurrency.limits import ConcurrencyLimits
from replicate_proxy.concurrency.line import Line
from replicate_proxy.concurrency.repair import SlotRepair
from tools.simulation.concurrency_invariants import StaticEntries

if TYPE_CHECKING:
    from tools.simulation.functions.components import Components


def build_limits(components: Components) -> ConcurrencyLimits:
    return ConcurrencyLimits(
        components.tenant_limits, StaticEntries(), monotonic=lambda: components.scheduler.now
    )


def build_line(components: Components, limits: ConcurrencyLimits) -> Line:
    return Line(components.slots, limits, components.dispatch_queue)


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


def build_repair(components: Components) -> SlotRepair | None:
    if not components.features.has_limits:
        return None
    limits = build_limits(components)
    return SlotRepair(
        store=components.slots,
        jobs=components.jobs,
        limits=limits,
        line=build_line(components, limits),
        clock=components.clock,
    )
