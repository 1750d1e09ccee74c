"""Run one seed: build the world, let it run until everything is at rest, check the guarantees."""

from __future__ import annotations

import logging
import random
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from replicate_proxy.observability import logger
from tools.simulation.account_invariants import AccountInvariants
from tools.simulation.account_operators import AccountOperators
from tools.simulation.audit_invariants import AuditInvariants
from tools.simulation.batch_invariants import BatchInvariants
from tools.simulation.batches import BatchCallers
from tools.simulation.breaker_invariants import BreakerInvariants
from tools.simulation.budget_invariants import BUDGETED_TENANT, BudgetInvariants
from tools.simulation.bulk_operations import BulkInvariants, BulkOperators
from tools.simulation.callers import TENANTS
from tools.simulation.concurrency_invariants import ConcurrencyInvariants
from tools.simulation.cost_invariants import CostInvariants, Reconciliation
from tools.simulation.decisions import Decisions
from tools.simulation.deletions import DeletionInvariants, DeletionOwners
from tools.simulation.delivery_invariants import DeliveryInvariants
from tools.simulation.erasures import ERASED_TENANT, ErasureInvariants, ErasureOperator
from tools.simulation.faults import FaultMix, FaultPlan
from tools.simulation.functions.components import Features
from tools.simulation.harvests import HarvestInvariants, HarvestOperators
from tools.simulation.input_invariants import InputInvariants
from tools.simulation.invariants import Invariants, Violation
from tools.simulation.key_invariants import KeyInvariants
from tools.simulation.operators import KeyOperators
from tools.simulation.parameters import draw_schedule_seconds, draw_timeouts
from tools.simulation.pauses import PauseOperators
from tools.simulation.redeliveries import RedeliveryOperators
from tools.simulation.replays import ReplayOperator
from tools.simulation.retries import RetryOperators
from tools.simulation.runtime import deterministic_process, garbage_collected_at_end
from tools.simulation.scheduler import Scheduler
from tools.simulation.searches import Searchers
from tools.simulation.stream_invariants import StreamInvariants
from tools.simulation.trace import Trace
from tools.simulation.usage_invariants import UsageInvariants
from tools.simulation.workload import Workload
from tools.simulation.world import World

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# 2026-01-01T00:00:00Z, an arbitrary moment
START = 1767225600.0
# Once faults have stopped, every job must be terminal within this time. Webhooks may be retried for days.
_MAX_JOB_SECONDS = 3 * 3600.0
_MAX_REST_SECONDS = 5 * 86400.0
# In one of so many seeds, a tenant and its key have budgets.
_BUDGET_SEEDS = 5
_BUDGET_REMAINDER = 3
# In one of so many, changes of keys are recorded in the audit trail.
_AUDIT_SEEDS = 5
_AUDIT_REMAINDER = 4
_ERASED_BATCHES = 2
# Of the predictions whose files are late, where operators have files fetched again.
_LATE_FILE_SHARE = 0.4


@dataclass(frozen=True, slots=True)
class RunSettings:
    """The size of a run. Faults occur for `fault_seconds`, and jobs arrive in the first third of them.

    `fallback_share` of the requests are for a model with a fallback. `invalid_share` of them have an input
    that the model's schema does not allow, and inputs are validated if that is not 0. `limited_share` of the
    seeds have concurrency limits of a tenant and of a model. `own_account_share` is the probability that a
    tenant has accounts of its own. `queue_limit_share` of the models with fallbacks have a limit of the queue
    time, and of the predictions start slowly. Operators retry `retry_share` of the failed and canceled jobs.
    Callers delete `delete_share` of the jobs, and ask for the shortest retention of as many. If `batch_share`
    is not 0, there are large batches, with that share of `jobs` as lines in addition to the other jobs.
    `pause_share` of the seeds have operators who pause predictions and deliveries, `erasure_share` a tenant
    that is erased, `bulk_share` bulk operations, `redelivery_share` redeliveries of webhooks, `harvest_share`
    files that cannot be fetched for some time, and operators who have them fetched again, `change_share`
    budgets and limits that change, `parameter_share` other parameters than those of the template, and
    `replay_share` an operator who replays archived events, and `late_redrive_share` one who redrives dead
    letters only when all jobs have ended.
    Callers search their predictions `searches` times. In a storm, few kinds of faults are very frequent.
    Violations of the guarantees in `ignored` do not stop the run.
    """

    jobs: int = 100
    fault_seconds: float = 5400.0
    key_requests: int = 8
    fallback_share: float = 0.0
    invalid_share: float = 0.0
    limited_share: float = 0.0
    own_account_share: float = 0.0
    queue_limit_share: float = 0.0
    retry_share: float = 0.0
    delete_share: float = 0.0
    batch_share: float = 0.0
    pause_share: float = 0.0
    erasure_share: float = 0.0
    bulk_share: float = 0.0
    redelivery_share: float = 0.0
    harvest_share: float = 0.0
    change_share: float = 0.0
    parameter_share: float = 0.0
    replay_share: float = 0.0
    late_redrive_share: float = 0.0
    searches: int = 0
    is_storm: bool = False
    keeps_steps: bool = False
    ignored: frozenset[str] = frozenset()


@dataclass(slots=True)
class RunResult:
    """What came of a seed."""

    seed: int
    trace: Trace
    violation: Violation | None
    decisions: Mapping[str, str]
    accepted: int
    virtual_seconds: float
    faults: Mapping[str, int] = field(default_factory=dict)
    checkpoints: Mapping[str, int] = field(default_factory=dict)
    transitions: frozenset[tuple[str, str]] = frozenset()
    statuses: Mapping[str, int] = field(default_factory=dict)
    past_attempts: Mapping[str, int] = field(default_factory=dict)
    money: Reconciliation = field(default_factory=Reconciliation)
    refused: int = 0
    retried: int = 0
    redelivered: int = 0
    harvested_again: int = 0
    deleted: int = 0
    large_batches: Mapping[str, int] = field(default_factory=dict)
    reads: Mapping[str, int] = field(default_factory=dict)


@garbage_collected_at_end()
def run_seed(
    seed: int,
    settings: RunSettings | None = None,
    *,
    script: Mapping[str, str] | None = None,
    mix: FaultMix | None = None,
) -> RunResult:
    """Run one seed. With `script`, only the choices that it names are faults."""
    settings = settings or RunSettings()
    if settings.is_storm and mix is None:
        mix = FaultMix.draw_storm(random.Random(f"{seed}/storm"))
    scheduler = Scheduler(seed, start=START)
    trace = Trace(keeps_steps=settings.keeps_steps)
    decisions = Decisions(script)
    metrics: Counter[str] = Counter()
    with deterministic_process(scheduler, metrics), logs_in_trace(scheduler, trace):
        plan = FaultPlan(scheduler, decisions, trace, quiet_from=START + settings.fault_seconds, mix=mix)
        plan.input_validation_enabled = settings.invalid_share > 0
        plan.slow_start_share = settings.queue_limit_share
        parameters = random.Random(f"{seed}/parameters")
        if parameters.random() < settings.parameter_share:
            plan.timeouts = draw_timeouts(parameters)
            plan.schedule_seconds = draw_schedule_seconds(parameters)
        world = World(scheduler, plan, trace, features=_draw_features(seed, settings))
        invariants = Invariants(world, settings.ignored)
        costs, batches = _start_actors(seed, settings, world, invariants)
        try:
            scheduler.run(plan.quiet_from)
            invariants.check_metrics(metrics)
            _run_until_rest(world, invariants)
            if not invariants.is_violated:
                invariants.check_at_rest()
                invariants.check_metrics(metrics)
            jobs = world.truth.read_jobs()
        finally:
            scheduler.discard()
    return RunResult(
        seed=seed,
        trace=trace,
        violation=invariants.violation,
        decisions=decisions.taken,
        accepted=len(invariants.accepted),
        virtual_seconds=scheduler.now - START,
        faults=plan.occurred,
        checkpoints=world.checkpoints,
        transitions=frozenset(invariants.transitions),
        statuses=Counter(job.status.value for job in jobs),
        past_attempts=Counter(past.outcome.value for job in jobs for past in job.past_attempts),
        money=costs.reconciliation,
        refused=len(invariants.refused_callers),
        retried=sum(job.retried_from is not None for job in jobs),
        redelivered=world.applications.count_redeliveries(),
        harvested_again=len(invariants.harvested_again),
        deleted=len(world.truth.deleted_jobs),
        large_batches=batches.describe(),
        reads=world.reads,
    )


def _draw_features(seed: int, settings: RunSettings) -> Features:
    """Draw each feature by itself, so that another share of one does not change the seeds without it."""

    def draw(name: str, share: float) -> bool:
        return random.Random(f"{seed}/{name}").random() < share

    has_erasures = draw("erasures", settings.erasure_share)
    has_bulk_operations = draw("bulk", settings.bulk_share)
    return Features(
        has_limits=draw("limits", settings.limited_share),
        has_own_accounts=settings.own_account_share > 0,
        has_deletions=settings.delete_share > 0 or has_erasures or has_bulk_operations,
        has_batches=settings.batch_share > 0,
        has_pauses=draw("pauses", settings.pause_share),
        has_erasures=has_erasures,
        has_bulk_operations=has_bulk_operations,
        has_redeliveries=draw("redeliveries", settings.redelivery_share),
        has_harvests=draw("harvests", settings.harvest_share),
        has_changes=draw("changes", settings.change_share),
        has_late_redrives=draw("redrives", settings.late_redrive_share),
    )


def _start_actors(
    seed: int, settings: RunSettings, world: World, invariants: Invariants
) -> tuple[CostInvariants, BatchInvariants]:
    """Start all who act, with the watchers, and return those whose sums are shown."""
    limits = ConcurrencyInvariants(world, invariants) if world.features.has_limits else None
    has_budgets = seed % _BUDGET_SEEDS == _BUDGET_REMAINDER and settings.jobs > 0
    budgets = BudgetInvariants(world, invariants)
    workload = Workload(world, invariants, settings, limits=limits, budgets=budgets if has_budgets else None)
    workload.start(random.Random(f"{seed}/workload"))
    costs = _watch(world, invariants)
    if world.features.has_pauses:
        PauseOperators(world, invariants, tenants=TENANTS, seconds=settings.fault_seconds / 2).start()
    _start_operators(seed, settings, world, invariants)
    if random.Random(f"{seed}/replays").random() < settings.replay_share:
        ReplayOperator(world, invariants, seconds=settings.fault_seconds / 2).start()
    batches = BatchInvariants(world, invariants, budgeted_tenant=BUDGETED_TENANT if has_budgets else None)
    if world.features.has_batches:
        BatchCallers(world, batches, settings, tenants=TENANTS).start()
    if world.features.has_erasures:
        ErasureInvariants(world, invariants)
        operator = ErasureOperator(world, invariants, workload.callers, seconds=settings.fault_seconds / 3)
        erased_after = operator.start(jobs=settings.jobs // 4)
        if world.features.has_batches:
            callers = BatchCallers(world, batches, settings, tenants=(ERASED_TENANT,))
            callers.start_erased(_ERASED_BATCHES, seconds=erased_after)
    searchers = Searchers(
        world, invariants, count=settings.searches, seconds=settings.fault_seconds / 2, tenants=TENANTS
    )
    searchers.start()
    return costs, batches


def _watch(world: World, invariants: Invariants) -> CostInvariants:
    """Add the watchers that every run has, and return the one that adds up the costs."""
    DeliveryInvariants(world, invariants)
    BreakerInvariants(world, invariants)
    costs = CostInvariants(world, invariants)
    StreamInvariants(world, invariants)
    UsageInvariants(world, invariants)
    InputInvariants(world, invariants)
    AccountInvariants(world, invariants)
    return costs


def _start_operators(seed: int, settings: RunSettings, world: World, invariants: Invariants) -> None:
    """Start the operators of accounts, jobs and keys, with the watchers of what they do."""
    account_seconds = settings.fault_seconds / 2
    AccountOperators(world, share=settings.own_account_share, seconds=account_seconds).start(TENANTS)
    keys = KeyInvariants(world, invariants)
    has_operators = world.features.has_redeliveries or world.features.has_harvests
    if seed % _AUDIT_SEEDS == _AUDIT_REMAINDER or settings.retry_share > 0 or has_operators:
        AuditInvariants(world, invariants).start()
    if world.features.has_deletions:
        deletions = DeletionInvariants(world, invariants)
        if settings.delete_share > 0:
            DeletionOwners(world, deletions, share=settings.delete_share).start()
        if world.features.has_bulk_operations:
            BulkInvariants(world, invariants, deletions)
            BulkOperators(world, tenants=TENANTS, seconds=settings.fault_seconds / 2).start()
    if world.features.has_redeliveries:
        RedeliveryOperators(world, invariants, tenants=TENANTS, seconds=settings.fault_seconds / 2).start()
    if world.features.has_harvests:
        world.plan.late_file_share = _LATE_FILE_SHARE
        world.plan.files_per_output = 2
        HarvestInvariants(world, invariants)
        HarvestOperators(world, invariants).start()
    if settings.retry_share > 0:
        RetryOperators(world, invariants, share=settings.retry_share).start()
    KeyOperators(world, keys, requests=settings.key_requests, seconds=settings.fault_seconds / 3).start()


def _run_until_rest(world: World, invariants: Invariants) -> None:
    """Run on without faults until nothing is left to do."""
    end = world.plan.quiet_from + _MAX_REST_SECONDS
    world.scheduler.run(world.plan.quiet_from + _MAX_JOB_SECONDS)
    invariants.check_jobs_ended()
    while world.scheduler.now < end and not invariants.is_violated and not world.is_at_rest():
        world.scheduler.run(world.scheduler.now + 1800)


@contextmanager
def logs_in_trace(scheduler: Scheduler, trace: Trace) -> Iterator[None]:
    """Silence the log, or show it in the trace if that keeps its steps."""
    inner = logger._logger  # noqa: SLF001 - Powertools gives no other access to its handlers
    level, handlers = inner.level, list(inner.handlers)
    inner.setLevel(logging.DEBUG if trace.keeps_steps else logging.CRITICAL + 1)
    inner.handlers = [_TraceHandler(scheduler, trace)] if trace.keeps_steps else []
    try:
        yield
    finally:
        inner.setLevel(level)
        inner.handlers = handlers


_STANDARD_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message"}


class _TraceHandler(logging.Handler):
    """Writes log records into the trace."""

    def __init__(self, scheduler: Scheduler, trace: Trace) -> None:
        super().__init__()
        self._scheduler = scheduler
        self._trace = trace

    def emit(self, record: logging.LogRecord) -> None:
        fields = {name: value for name, value in vars(record).items() if name not in _STANDARD_FIELDS}
        details = " ".join(f"{name}={value}" for name, value in fields.items())
        failure = f" {record.exc_info[1]!r}" if record.exc_info else ""
        actor = self._scheduler.current
        name = actor.name if actor is not None else ""
        self._trace.remark(self._scheduler.now, name, f"log: {record.getMessage()} {details}{failure}")
