"""The contracts of SlotStore and TenantLimitStore, for DynamoDB on the simulation's AWS and on moto."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from moto import mock_aws

from replicate_proxy.aws.control_table import ControlTable
from replicate_proxy.aws.line_store import DynamoLineStore
from replicate_proxy.aws.slot_store import DynamoSlotStore
from replicate_proxy.aws.tenant_limit_store import DynamoTenantLimitStore
from replicate_proxy.concurrency.model import Limit, Slots, WaitingJob
from replicate_proxy.errors import RetryableError
from tests.support.aws import (
    CONTROL_TABLE,
    JOBS_TABLE,
    create_control_table,
    create_in_memory_aws,
    create_jobs_table,
    make_client_error,
    make_failing_client,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from types_boto3_dynamodb import DynamoDBClient

TWO = Limit("tenant/acme", 2)


@dataclass(frozen=True)
class Stores:
    """Both stores over one client."""

    client: DynamoDBClient

    @property
    def slots(self) -> DynamoSlotStore:
        return DynamoSlotStore(self.client, control_table=CONTROL_TABLE, jobs_table=JOBS_TABLE)

    @property
    def limits(self) -> DynamoTenantLimitStore:
        return DynamoTenantLimitStore(ControlTable(self.client, CONTROL_TABLE))


@pytest.fixture(params=["simulation", "moto"])
def stores(request: pytest.FixtureRequest) -> Iterator[Stores]:
    if request.param == "simulation":
        yield Stores(create_in_memory_aws().client("dynamodb"))
        return
    with mock_aws():
        create_jobs_table()
        yield Stores(create_control_table())


@pytest.fixture
def store(stores: Stores) -> DynamoSlotStore:
    return stores.slots


def make_waiting(job_id: str, tenant: str = "acme") -> WaitingJob:
    return WaitingJob(tenant, job_id, f"c-{job_id}", 1772443800)


def test_slots_are_acquired_up_to_the_limit(store: DynamoSlotStore) -> None:
    assert [store.acquire(TWO, f"acme/{name}", 1) for name in "abc"] == [True, True, False]
    assert store.read(TWO.name) == Slots({"acme/a": 1, "acme/b": 1})


def test_limits_are_apart(store: DynamoSlotStore) -> None:
    other = Limit("model/acme/flux", 1)

    assert store.acquire(TWO, "acme/a", 1)
    assert store.acquire(other, "acme/a", 1)
    assert not store.acquire(other, "acme/b", 1)


def test_holder_renews_its_slot_when_all_are_taken(store: DynamoSlotStore) -> None:
    for name in "ab":
        store.acquire(TWO, f"acme/{name}", 1)

    assert store.acquire(TWO, "acme/a", 5)
    assert store.acquire(TWO, "acme/a", 5)
    assert store.read(TWO.name).holders == {"acme/a": 5, "acme/b": 1}


def test_late_acquisition_keeps_the_later_revision(store: DynamoSlotStore) -> None:
    store.acquire(TWO, "acme/a", 5)

    assert store.acquire(TWO, "acme/a", 2)
    assert store.read(TWO.name).holders == {"acme/a": 5}


def test_raised_limit_has_more_slots_at_once(store: DynamoSlotStore) -> None:
    for name in "ab":
        store.acquire(TWO, f"acme/{name}", 1)

    assert not store.acquire(TWO, "acme/c", 1)
    assert store.acquire(Limit(TWO.name, 3), "acme/c", 1)


def test_release_frees_slots_of_earlier_revisions_only(store: DynamoSlotStore) -> None:
    store.acquire(TWO, "acme/a", 3)
    store.acquire(TWO, "acme/b", 3)

    assert store.release(TWO.name, "acme/a", up_to_revision=2).holders == {"acme/a": 3, "acme/b": 3}
    assert store.release(TWO.name, "acme/a", up_to_revision=3).holders == {"acme/b": 3}
    assert store.release(TWO.name, "acme/a", up_to_revision=3).holders == {"acme/b": 3}


def test_release_of_unknown_limit_changes_nothing(store: DynamoSlotStore) -> None:
    assert store.release("tenant/unknown", "unknown/a", up_to_revision=3) == Slots()
    assert store.read("tenant/unknown") == Slots()


def test_forgotten_job_has_neither_slot_nor_place(store: DynamoSlotStore) -> None:
    for name in "ab":
        store.acquire(TWO, f"acme/{name}", 3)
    for name in "ab":
        store.join_line(TWO.name, make_waiting(name))

    for _ in range(2):
        store.forget(TWO.name, [make_waiting("a")])

    assert store.read(TWO.name) == Slots({"acme/b": 3}, has_line=True)
    assert store.list_line(TWO.name, count=10) == [make_waiting("b")]


def test_line_keeps_its_order(store: DynamoSlotStore) -> None:
    store.acquire(TWO, "acme/a", 1)
    store.join_line(TWO.name, make_waiting("b"))

    assert not store.acquire(TWO, "acme/c", 1)
    assert store.acquire(TWO, "acme/a", 2)
    assert store.release(TWO.name, "acme/a", up_to_revision=2).has_line


def test_grant_takes_slots_for_all_or_none(store: DynamoSlotStore) -> None:
    store.acquire(TWO, "acme/a", 1)
    store.join_line(TWO.name, make_waiting("b"))

    assert not store.grant(TWO, ["acme/b", "acme/c"])
    assert store.grant(TWO, ["acme/b"])
    assert not store.grant(TWO, ["acme/b"])
    assert store.read(TWO.name).holders == {"acme/a": 1, "acme/b": 0}
    assert store.acquire(TWO, "acme/b", 7)


def test_grant_takes_as_many_slots_at_once_as_a_page_of_the_line_has(store: DynamoSlotStore) -> None:
    limit = Limit("tenant/acme", 500)
    store.acquire(limit, "acme/a", 1)
    holders = [f"acme/{number}" for number in range(100)]

    assert store.grant(limit, holders)
    assert store.read(limit.name).holders == {"acme/a": 1, **dict.fromkeys(holders, 0)}


def test_line_is_in_the_order_of_ids(store: DynamoSlotStore) -> None:
    waiting = [make_waiting("3"), make_waiting("1", "globex"), make_waiting("2")]
    for job in waiting:
        store.join_line("model/acme/flux", job)
        store.join_line("model/acme/flux", job)

    ordered = [waiting[1], waiting[2], waiting[0]]
    assert store.list_line("model/acme/flux", count=10) == ordered
    assert store.list_line("model/acme/flux", count=2) == ordered[:2]
    assert [store.count_ahead("model/acme/flux", name, at_most=10) for name in "123"] == [0, 1, 2]
    assert store.count_ahead("model/acme/flux", "~", at_most=2) == 2


def test_closed_line_is_not_listed(store: DynamoSlotStore) -> None:
    first, second = make_waiting("1"), make_waiting("2")
    for job in (first, second):
        store.join_line(TWO.name, job)
    assert store.list_lines() == [TWO.name]

    store.leave_line(TWO.name, [first])
    store.close_line(TWO.name)
    assert store.list_lines() == [TWO.name]
    assert store.read(TWO.name).has_line

    store.leave_line(TWO.name, [first, second])
    store.close_line(TWO.name)
    assert store.list_lines() == []
    assert not store.read(TWO.name).has_line
    assert store.acquire(TWO, "acme/c", 1)


def test_job_is_found_in_line_although_its_insertion_is_not_confirmed(
    store: DynamoSlotStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert = DynamoLineStore.insert

    def insert_without_response(lines: DynamoLineStore, limit_name: str, job: WaitingJob) -> None:
        insert(lines, limit_name, job)
        raise RetryableError("no response")

    monkeypatch.setattr(DynamoLineStore, "insert", insert_without_response)
    with pytest.raises(RetryableError):
        store.join_line(TWO.name, make_waiting("1"))

    assert store.list_lines() == [TWO.name]
    assert store.read(TWO.name).has_line
    assert store.list_line(TWO.name, count=1) == [make_waiting("1")]


def test_line_that_is_closed_while_a_job_joins_is_opened_again(
    store: DynamoSlotStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    insert = DynamoLineStore.insert

    def close_and_insert(lines: DynamoLineStore, limit_name: str, job: WaitingJob) -> None:
        store.close_line(limit_name)
        insert(lines, limit_name, job)

    monkeypatch.setattr(DynamoLineStore, "insert", close_and_insert)
    store.join_line(TWO.name, make_waiting("1"))

    assert store.list_lines() == [TWO.name]
    assert store.read(TWO.name).has_line


def test_unreachable_table_is_a_temporary_failure() -> None:
    failing = make_failing_client(make_client_error("ThrottlingException"))
    store = DynamoSlotStore(failing, control_table=CONTROL_TABLE, jobs_table=JOBS_TABLE)

    for call in (
        lambda: store.acquire(TWO, "acme/a", 1),
        lambda: store.grant(TWO, ["acme/a"]),
        lambda: store.release(TWO.name, "acme/a", up_to_revision=1),
        lambda: store.join_line(TWO.name, make_waiting("1")),
        lambda: store.leave_line(TWO.name, [make_waiting("1")]),
        lambda: store.list_line(TWO.name, count=1),
        lambda: store.count_ahead(TWO.name, "1", at_most=1),
        lambda: store.read(TWO.name),
        store.list_lines,
    ):
        with pytest.raises(RetryableError):
            call()


def test_limits_of_tenants_are_set_and_removed(stores: Stores) -> None:
    limits = stores.limits

    assert limits.read() == {}
    limits.put("acme", 3)
    assert limits.put("globex", 5) == {"acme": 3, "globex": 5}
    assert limits.put("acme", 4) == {"acme": 4, "globex": 5}
    assert limits.remove("acme") == {"globex": 5}
    assert limits.remove("acme") == {"globex": 5}
    assert limits.read() == {"globex": 5}
