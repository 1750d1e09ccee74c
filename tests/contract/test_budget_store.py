"""The contract of budgets' stores, for DynamoDB on the simulation's AWS and on moto."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from moto import mock_aws

from replicate_proxy.aws.budget_records import window_key
from replicate_proxy.aws.budget_store import DynamoBudgetedJobs, DynamoBudgetStore
from replicate_proxy.aws.dynamodb import get_record
from replicate_proxy.aws.job_store import DynamoJobStore
from replicate_proxy.aws.usage_store import DynamoUsageStore
from replicate_proxy.budgets.model import (
    BudgetContentionError,
    BudgetExceededError,
    BudgetLimits,
    BudgetOwner,
    Hold,
)
from replicate_proxy.errors import ConflictError
from replicate_proxy.jobs.model import Cost, JobStatus, Reservation
from replicate_proxy.usage.model import EndedJob
from tests.support.aws import JOBS_TABLE, USAGE_TABLE, create_in_memory_aws, create_jobs_table
from tests.support.aws import create_usage_table as create_usage
from tests.support.builders import make_job
from tests.support.clock import NOW

if TYPE_CHECKING:
    from collections.abc import Iterator

    from types_boto3_dynamodb import DynamoDBClient

    from replicate_proxy.budgets.model import BudgetWindow
    from replicate_proxy.jobs.model import Job

TENANT = BudgetOwner("acme")
KEY = BudgetOwner("acme", "key-1")
LIMITS = BudgetLimits(day_micro_usd=100, month_micro_usd=1000)


@dataclass
class Stores:
    """The stores on one account."""

    limits: DynamoBudgetStore
    budgeted: DynamoBudgetedJobs
    usage: DynamoUsageStore
    jobs: DynamoJobStore

    def hold(self, *amounts: int) -> Hold:
        return Hold("acme", amounts, tuple(self.budgeted.list_states([TENANT, KEY], NOW)))

    def create(self, job: Job, amount: int) -> Job:
        hold = self.hold(amount)
        reservation = Reservation(amount, tuple(state.window.name for state in hold.states))
        job = replace(job, reservation=reservation)
        self.budgeted.create([job], hold)
        return job

    def read_window(self, window: BudgetWindow) -> dict[str, Any]:
        client = self.budgeted._client
        return get_record(client, USAGE_TABLE, window_key(window.owner.tenant, window.name), "read window")

    def list_sums(self) -> list[tuple[int, int]]:
        states = self.budgeted.list_states([TENANT, KEY], NOW)
        return [(state.committed_micro_usd, state.spent_micro_usd) for state in states]


@pytest.fixture(params=["simulation", "moto"])
def stores(request: pytest.FixtureRequest) -> Iterator[Stores]:
    if request.param == "simulation":
        yield make_stores(create_in_memory_aws().client("dynamodb"))
        return
    with mock_aws():
        create_jobs_table()
        yield make_stores(create_usage())


def make_stores(client: DynamoDBClient) -> Stores:
    stores = Stores(
        DynamoBudgetStore(client, USAGE_TABLE),
        DynamoBudgetedJobs(client, USAGE_TABLE, JOBS_TABLE),
        DynamoUsageStore(client, USAGE_TABLE),
        DynamoJobStore(client, JOBS_TABLE),
    )
    stores.limits.put_limits(TENANT, LIMITS)
    return stores


def make_new_job() -> Job:
    return make_job(revision=0)


def test_limits_are_stored_and_deleted(stores: Stores) -> None:
    assert stores.limits.get_limits(TENANT) == LIMITS
    assert stores.limits.get_limits(KEY) is None
    assert stores.limits.find_budget("acme", "key-2")
    assert not stores.limits.find_budget("globex", "key-2")

    stores.limits.delete_limits(TENANT)

    assert stores.limits.get_limits(TENANT) is None
    assert stores.budgeted.list_states([TENANT, KEY], NOW) == []


def test_job_and_reservation_are_written_together(stores: Stores) -> None:
    job = stores.create(make_new_job(), 60)

    assert stores.jobs.get("acme", job.id) == replace(job, revision=1)
    assert stores.list_sums() == [(60, 0), (60, 0)]


def test_reservation_that_does_not_fit_writes_nothing(stores: Stores) -> None:
    hold = stores.hold(60)
    stores.create(make_new_job(), 60)
    job = make_new_job()

    with pytest.raises(BudgetExceededError):
        stores.budgeted.create([job], hold)

    assert stores.jobs.get("acme", job.id) is None
    assert stores.list_sums() == [(60, 0), (60, 0)]


def test_all_of_a_limit_can_be_reserved(stores: Stores) -> None:
    stores.create(make_new_job(), 60)
    stores.create(make_new_job(), 40)

    assert stores.list_sums()[0] == (100, 0)


def test_job_that_reserves_nothing_fits_into_an_overdrawn_window(stores: Stores) -> None:
    stores.create(make_new_job(), 60)
    stores.limits.put_limits(TENANT, BudgetLimits(day_micro_usd=50))
    assert stores.hold(0).find_exceeded() is None

    job = stores.create(make_new_job(), 0)

    assert job.reservation == Reservation(0, ("TENANT#2026-01-31",))
    assert stores.list_sums() == [(60, 0)]


def test_announcement_is_of_a_window_and_its_limit(stores: Stores) -> None:
    day, month = stores.budgeted.list_states([TENANT], NOW)
    stores.budgeted.record_announcement(day, 80)

    assert [state.announced for state in stores.budgeted.list_states([TENANT], NOW)] == [{80}, set()]
    assert stores.list_sums() == [(0, 0), (0, 0)]

    stores.limits.put_limits(TENANT, replace(LIMITS, day_micro_usd=day.limit_micro_usd + 1))
    assert stores.budgeted.list_states([TENANT], NOW)[0].announced == set()
    assert month.announced == set()


def test_job_that_exists_reserves_nothing(stores: Stores) -> None:
    job = stores.create(make_new_job(), 10)

    with pytest.raises(ConflictError):
        stores.create(job, 10)

    assert stores.list_sums() == [(10, 0), (10, 0)]


def test_end_of_a_job_settles_its_reservation_once(stores: Stores) -> None:
    stores.limits.put_limits(KEY, BudgetLimits(day_micro_usd=70))
    job = stores.create(make_new_job(), 60)
    ended = replace(job, status=JobStatus.SUCCEEDED, cost=Cost(micro_usd=25))

    stores.usage.count([EndedJob.from_job(ended)], now=NOW)
    with pytest.raises(ConflictError):
        stores.usage.count([EndedJob.from_job(ended)], now=NOW)

    assert stores.list_sums() == [(25, 25), (25, 25), (25, 25)]


def test_cost_that_is_not_known_counts_as_all_that_was_reserved(stores: Stores) -> None:
    job = stores.create(make_new_job(), 60)
    ended = replace(job, status=JobStatus.SUCCEEDED, cost=Cost(reason="no price is known"))

    stores.usage.count([EndedJob.from_job(ended)], now=NOW)

    assert stores.list_sums() == [(60, 60), (60, 60)]


@pytest.mark.parametrize(("known", "spent"), [(20, 60), (0, 60), (70, 70)])
def test_estimate_counts_as_all_that_was_reserved_or_as_more(stores: Stores, known: int, spent: int) -> None:
    job = stores.create(make_new_job(), 60)
    ended = replace(job, status=JobStatus.SUCCEEDED, cost=Cost(micro_usd=known, is_estimated=True))

    stores.usage.count([EndedJob.from_job(ended)], now=NOW)

    assert stores.list_sums() == [(spent, spent), (spent, spent)]


def test_conflict_of_transactions_is_contention(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    from botocore.exceptions import ClientError  # noqa: PLC0415 - only here

    def fail(**_: object) -> None:
        response = {
            "Error": {"Code": "TransactionCanceledException", "Message": ""},
            "CancellationReasons": [{"Code": "None"}, {"Code": "TransactionConflict"}],
        }
        raise ClientError(response, "TransactWriteItems")  # type: ignore[arg-type]  # the SDK's own shape

    hold = stores.hold(60)
    monkeypatch.setattr(stores.budgeted._client, "transact_write_items", fail)

    with pytest.raises(BudgetContentionError):
        stores.budgeted.create([make_new_job()], hold)


def test_window_is_stored_for_longer_than_jobs_that_reserved_in_it_may_run(stores: Stores) -> None:
    stores.limits.put_limits(TENANT, LIMITS)
    states = stores.hold(10).states
    stores.create(make_job(), 10)

    for state in states:
        record = stores.read_window(state.window)
        kept = datetime.fromtimestamp(record["expires_at"], UTC) - state.window.resets_at
        assert kept > timedelta(days=30)
