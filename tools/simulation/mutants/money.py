"""Broken variants of costs, usage and budgets."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from replicate_proxy.aws.budget_store import DynamoBudgetedJobs
from replicate_proxy.aws.dynamodb import translate_dynamodb_errors
from replicate_proxy.aws.usage_store import DynamoUsageStore
from replicate_proxy.costs import calculate
from replicate_proxy.services import cancel_prediction
from replicate_proxy.usage import model as usage_model
from replicate_proxy.usage.counter import UsageCounter
from tools.simulation.decisions import Rates
from tools.simulation.faults import FaultMix
from tools.simulation.mutants.mutant import WITH_QUEUE_LIMITS, Mutant

if TYPE_CHECKING:
    from collections.abc import Callable


def _count_and_skip(self: Any, changes: Any) -> None:
    _count_usage(self, changes)


def _mark_without_condition(self: Any, job: Any, now: Any) -> Any:
    mark = _build_mark(self, job, now)
    del mark["Put"]["ConditionExpression"]
    return mark


def _reserve_without_condition(self: Any, state: Any, amount: int) -> Any:
    item = _build_reservation(self, state, amount)
    del item["Update"]["ConditionExpression"], item["Update"]["ExpressionAttributeValues"][":most"]
    return item


def _create_and_reserve_later(self: Any, jobs: Any, hold: Any, *, batch: Any = None) -> None:
    _create_budgeted(self, jobs, replace(hold, states=()), batch=batch)
    for state in hold.states:
        with translate_dynamodb_errors("reserve"):
            self._client.transact_write_items(
                TransactItems=[self._build_reservation(state, hold.total_micro_usd)]
            )


_LONG_RUNS = FaultMix(runs=Rates(long=1.0))
_build_reservation: Callable[..., Any] = DynamoBudgetedJobs._build_reservation  # noqa: SLF001 - what is broken
_create_budgeted: Callable[..., Any] = DynamoBudgetedJobs.create
_count_usage: Callable[..., Any] = UsageCounter.count
_build_mark: Callable[..., Any] = DynamoUsageStore._build_mark  # noqa: SLF001 - what is broken

MONEY_MUTANTS: tuple[Mutant, ...] = (
    Mutant(
        "a canceled prediction costs nothing",
        "money is exact",
        ((calculate, "_FREE_STATUSES", {**calculate._FREE_STATUSES, "canceled": "canceled"}),),  # noqa: SLF001 - what is broken
    ),
    Mutant(
        "the metrics of a canceled prediction are not kept",
        "money is exact",
        (
            (
                cancel_prediction,
                "build_end_change",
                lambda end, *_facts: replace(end, replicate_status="aborted"),
            ),
        ),
    ),
    Mutant(
        "what was canceled for a fallback costs nothing, although it had started",
        "money is exact",
        ((calculate, "_add", lambda cost, *_canceled: cost),),
        mix=_LONG_RUNS,
        settings=WITH_QUEUE_LIMITS,
    ),
    Mutant(
        "a job that is counted is counted again",
        "usage is the sum of the jobs",
        ((DynamoUsageStore, "_build_mark", _mark_without_condition),),
    ),
    Mutant(
        "usage that could not be counted is skipped",
        "usage is the sum of the jobs",
        ((UsageCounter, "count", _count_and_skip),),
    ),
    Mutant(
        "a reservation is made whatever is left",
        "a budget is not overspent",
        ((DynamoBudgetedJobs, "_build_reservation", _reserve_without_condition),),
    ),
    Mutant(
        "the end of a job does not release its reservation",
        "reservations are settled",
        ((usage_model, "settle_reservation", lambda _job: ()),),
    ),
    Mutant(
        "the reservation is written after the job",
        "reservations are settled",
        ((DynamoBudgetedJobs, "create", _create_and_reserve_later),),
    ),
)
