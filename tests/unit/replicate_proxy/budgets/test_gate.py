"""Creates within a budget: reserved, refused with 402, and repeated while others write the same budget."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from replicate_proxy.auth.principal import Principal
from replicate_proxy.aws.budget_store import DynamoBudgetedJobs, DynamoBudgetStore
from replicate_proxy.aws.job_store import DynamoJobStore
from replicate_proxy.budgets.gate import build_budget_view
from replicate_proxy.budgets.model import (
    BudgetContentionError,
    BudgetLimits,
    BudgetOwner,
    BudgetPeriod,
    BudgetWindow,
)
from replicate_proxy.errors import ApiError, RetryableError
from replicate_proxy.jobs.model import Reservation
from tests.support.aws import JOBS_TABLE, USAGE_TABLE, create_in_memory_aws, make_failing_client
from tests.support.builders import make_job
from tests.support.clock import NOW, FakeClock
from tests.support.fakes import FakeEventBus
from tests.support.usage import build_budget_gate

CALLER = Principal("acme", "key-1", has_budget=True)
REQUEST: Any = SimpleNamespace(correlation_id="req-1")


class Budgets:
    """A gate whose requests cost at most 40, on a store in memory."""

    def __init__(self) -> None:
        client = self.client = create_in_memory_aws().client("dynamodb")
        self.limits = DynamoBudgetStore(client, USAGE_TABLE)
        self.store = DynamoBudgetedJobs(client, USAGE_TABLE, JOBS_TABLE)
        self.bus, clock = FakeEventBus(), FakeClock()
        self.clock = clock
        self.gate = build_budget_gate(self.store, clock, bus=self.bus)

    def request(self) -> None:
        hold = self.gate.check([REQUEST], CALLER)
        assert hold is not None
        self.gate.create([make_job(revision=0)], hold)

    def list_alerts(self) -> list[tuple[str | None, int]]:
        return [(event.data["key_id"], event.data["percentage"]) for event in self.bus.published]


@pytest.fixture
def budgets() -> Budgets:
    return Budgets()


def test_caller_without_a_budget_costs_no_request() -> None:
    store = DynamoBudgetedJobs(make_failing_client(AssertionError("called")), USAGE_TABLE, JOBS_TABLE)
    gate = build_budget_gate(store, FakeClock())

    assert gate.check([REQUEST], replace(CALLER, has_budget=False)) is None


def test_caller_whose_budget_was_deleted_reserves_nothing(budgets: Budgets) -> None:
    assert budgets.gate.check([REQUEST], CALLER) is None


def test_requests_are_refused_when_the_budget_is_used_up(budgets: Budgets) -> None:
    budgets.limits.put_limits(BudgetOwner("acme"), BudgetLimits(day_micro_usd=100, month_micro_usd=500))
    budgets.limits.put_limits(BudgetOwner("acme", "key-1"), BudgetLimits(month_micro_usd=90))
    for _ in range(2):
        hold = budgets.gate.check([REQUEST], CALLER)
        assert hold is not None
        hold = budgets.gate.create([make_job(revision=0)], hold)
    assert hold is not None
    assert build_budget_view(hold) == {
        "reserved_usd": "0.000040",
        "scope": "key",
        "period": "month",
        "limit_usd": "0.000090",
        "committed_usd": "0.000080",
        "spent_usd": "0.000000",
        "left_usd": "0.000010",
        "resets_at": "2026-02-01T00:00:00.000Z",
    }

    with pytest.raises(ApiError) as refused:
        budgets.gate.check([REQUEST], CALLER)

    assert refused.value.status == 402
    assert refused.value.detail == (
        "The monthly budget of key key-1 has $0.000010 of $0.000090 left, and this request reserves up to "
        "$0.000040. It resets at 2026-02-01T00:00:00.000Z"
    )
    assert refused.value.extensions["budget"] == {**build_budget_view(hold), "reserved_usd": "0.000040"}


def test_requests_of_a_batch_are_reserved_as_a_whole(budgets: Budgets) -> None:
    budgets.limits.put_limits(BudgetOwner("acme"), BudgetLimits(day_micro_usd=100))

    with pytest.raises(ApiError):
        budgets.gate.check([REQUEST] * 3, CALLER)
    hold = budgets.gate.check([REQUEST] * 2, CALLER)

    assert hold is not None
    jobs = [make_job(revision=0), make_job(revision=0)]
    assert budgets.gate.create(jobs, hold).find_tightest().left_micro_usd == 20


def test_budget_that_others_used_up_meanwhile_refuses_the_request(budgets: Budgets) -> None:
    budgets.limits.put_limits(BudgetOwner("acme"), BudgetLimits(day_micro_usd=50))
    hold = budgets.gate.check([REQUEST], CALLER)
    assert hold is not None
    budgets.gate.create([make_job(revision=0)], hold)

    with pytest.raises(ApiError) as refused:
        budgets.gate.create([make_job(revision=0)], hold)

    assert "has $0.000010 of $0.000050 left" in refused.value.detail


def test_create_that_a_new_day_has_room_for_is_not_refused(budgets: Budgets) -> None:
    budgets.limits.put_limits(BudgetOwner("acme"), BudgetLimits(day_micro_usd=50))
    hold = budgets.gate.check([REQUEST], CALLER)
    assert hold is not None
    budgets.request()
    budgets.clock.advance(86_400)

    hold = budgets.gate.create([job := make_job(revision=0)], hold)

    assert build_budget_view(hold)["resets_at"] == "2026-02-02T00:00:00.000Z"
    stored = DynamoJobStore(budgets.client, JOBS_TABLE).get("acme", job.id)
    assert stored is not None
    assert stored.reservation == Reservation(40, ("TENANT#2026-02-01",))
    assert [event.data["resets_at"] for event in budgets.bus.published] == [
        "2026-02-01T00:00:00.000Z",
        "2026-02-02T00:00:00.000Z",
    ]
    assert budgets.list_alerts() == [(None, 80), (None, 80)]


def test_create_whose_budget_was_deleted_meanwhile_is_to_be_repeated(budgets: Budgets) -> None:
    budgets.limits.put_limits(BudgetOwner("acme"), BudgetLimits(day_micro_usd=50))
    hold = budgets.gate.check([REQUEST], CALLER)
    assert hold is not None
    budgets.request()
    budgets.limits.delete_limits(BudgetOwner("acme"))

    with pytest.raises(RetryableError):
        budgets.gate.create([make_job(revision=0)], hold)


@pytest.mark.parametrize(("conflicts", "is_created"), [(3, True), (100, False)])
def test_contention_is_waited_for(
    budgets: Budgets, monkeypatch: pytest.MonkeyPatch, conflicts: int, is_created: bool
) -> None:
    budgets.limits.put_limits(BudgetOwner("acme"), BudgetLimits(day_micro_usd=50))
    hold = budgets.gate.check([REQUEST], CALLER)
    assert hold is not None
    create, failures = budgets.store.create, iter(range(conflicts))

    def conflict_first(*arguments: Any, **options: Any) -> None:
        if next(failures, None) is not None:
            raise BudgetContentionError("busy")
        create(*arguments, **options)

    monkeypatch.setattr(budgets.store, "create", conflict_first)
    if is_created:
        budgets.gate.create([make_job(revision=0)], hold)
    else:
        with pytest.raises(RetryableError):
            budgets.gate.create([make_job(revision=0)], hold)


def test_operators_are_told_once_when_a_budget_is_nearly_and_when_it_is_used_up(budgets: Budgets) -> None:
    budgets.limits.put_limits(BudgetOwner("acme"), BudgetLimits(day_micro_usd=150))
    budgets.limits.put_limits(BudgetOwner("acme", "key-1"), BudgetLimits(day_micro_usd=80))

    budgets.request()
    assert budgets.list_alerts() == []

    budgets.request()
    assert budgets.list_alerts() == [("key-1", 80), ("key-1", 100)]
    assert budgets.bus.published[1].event_id == "budget-acme-KEY#key-1#2026-01-31-80-100"
    assert budgets.bus.published[1].data == {
        "tenant": "acme",
        "key_id": "key-1",
        "period": "day",
        "percentage": 100,
        "limit_usd": "0.000080",
        "committed_usd": "0.000080",
        "left_usd": "0.000000",
        "resets_at": "2026-02-01T00:00:00.000Z",
    }

    budgets.limits.delete_limits(BudgetOwner("acme", "key-1"))
    budgets.request()
    assert budgets.list_alerts()[2:] == [(None, 80)]
    for _ in range(2):
        with pytest.raises(ApiError):
            budgets.request()
    assert budgets.list_alerts()[3:] == [(None, 100)]


def test_new_limit_is_announced_anew(budgets: Budgets) -> None:
    budgets.limits.put_limits(BudgetOwner("acme"), BudgetLimits(day_micro_usd=45))
    budgets.request()
    budgets.limits.put_limits(BudgetOwner("acme"), BudgetLimits(day_micro_usd=90))
    budgets.request()

    assert budgets.list_alerts() == [(None, 80), (None, 80)]


def test_alert_that_cannot_be_published_is_published_by_the_next_create(budgets: Budgets) -> None:
    budgets.limits.put_limits(BudgetOwner("acme"), BudgetLimits(day_micro_usd=85))
    budgets.request()
    budgets.bus.faults.fail("publish")

    budgets.request()
    assert budgets.list_alerts() == []

    with pytest.raises(ApiError):
        budgets.request()
    assert budgets.list_alerts() == [(None, 80), (None, 100)]


@pytest.mark.parametrize(
    ("period", "start", "resets_at"),
    [
        (BudgetPeriod.DAY, "2026-01-31", "2026-02-01"),
        (BudgetPeriod.MONTH, "2026-01", "2026-02-01"),
        (BudgetPeriod.MONTH, "2026-12", "2027-01-01"),
    ],
)
def test_window_resets_at_its_end(period: BudgetPeriod, start: str, resets_at: str) -> None:
    window = BudgetWindow(BudgetOwner("acme"), period, start)

    assert window.resets_at.date().isoformat() == resets_at
    assert BudgetWindow.of(window.owner, period, NOW).start == NOW.date().isoformat()[: len(start)]
