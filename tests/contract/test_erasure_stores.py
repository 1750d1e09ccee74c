"""The contracts of the ports of erasures, on the simulation's AWS and on moto."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from moto import mock_aws

from replicate_proxy.audit.model import AuditSource
from replicate_proxy.aws.bulk_marks import BulkMarks
from replicate_proxy.aws.erasure_store import DynamoErasureStore
from replicate_proxy.aws.tenant_objects import S3TenantObjects
from replicate_proxy.aws.tenant_rows import DynamoTenantRows, classify_job_row
from replicate_proxy.errors import ConflictError
from replicate_proxy.operations.erasure.model import Erasure, ErasureStatus
from replicate_proxy.operations.ports import Stage
from tests.support.aws import JOBS_TABLE, create_in_memory_aws, create_jobs_table
from tests.support.clock import NOW
from tools.simulation.resources import BUCKET

if TYPE_CHECKING:
    from collections.abc import Iterator

ERASURE = Erasure(
    tenant="acme",
    started_at=NOW,
    due_at=NOW,
    key_id="op",
    source=AuditSource.CLI,
    correlation_id="c",
    stage=Stage("api", "prod"),
)


@pytest.fixture(params=["simulation", "moto"])
def clients(request: pytest.FixtureRequest) -> Iterator[tuple[Any, Any]]:
    """DynamoDB with the table of jobs, and S3 with the bucket."""
    if request.param == "simulation":
        aws = create_in_memory_aws()
        aws.s3.create_bucket(BUCKET)
        yield aws.client("dynamodb"), aws.client("s3")
        return
    with mock_aws():
        s3 = boto3.client("s3", region_name="us-east-1")
        s3.create_bucket(Bucket=BUCKET)
        yield create_jobs_table(), s3


@pytest.fixture
def store(clients: tuple[Any, Any]) -> DynamoErasureStore:
    return DynamoErasureStore(clients[0], JOBS_TABLE)


def test_stored_erasure_round_trips(store: DynamoErasureStore) -> None:
    created = store.create(ERASURE)
    assert created == replace(ERASURE, revision=1) == store.get("acme")

    changed = replace(
        created.count(["keys", "keys", "predictions"]),
        pending=("a", "b"),
        cursor="c",
        quiet_until=NOW + timedelta(minutes=1),
        tombstones_until=NOW + timedelta(hours=25),
        due_at=NOW + timedelta(minutes=1),
    )
    saved = store.replace(changed)
    assert saved == replace(changed, revision=2) == store.get("acme")
    assert store.get("globex") is None


def test_erasure_that_goes_on_is_not_replaced_by_another(store: DynamoErasureStore) -> None:
    created = store.create(ERASURE)
    with pytest.raises(ConflictError):
        store.create(ERASURE)
    store.replace(created)
    with pytest.raises(ConflictError):
        store.replace(created)


def test_completed_erasure_is_replaced(store: DynamoErasureStore) -> None:
    completed = replace(store.create(ERASURE), status=ErasureStatus.COMPLETED, completed_at=NOW)
    store.replace(completed)

    later = store.create(replace(ERASURE, started_at=NOW + timedelta(days=1)))

    assert store.get("acme") == later


def test_due_erasures_are_listed_until_they_are_closed(
    store: DynamoErasureStore, clients: tuple[Any, Any]
) -> None:
    marks = BulkMarks(clients[0], JOBS_TABLE)
    marks.add("01kfjghhd0ntxtyd15ch19trsx", 2_000_000_000)
    assert store.list_due(NOW) == []
    created = store.create(ERASURE)
    assert store.list_due(NOW) == [created]
    assert marks.list_ids() == ["01kfjghhd0ntxtyd15ch19trsx"]

    postponed = store.replace(replace(created, due_at=NOW + timedelta(hours=1)))
    assert store.list_due(NOW) == []
    assert store.list_due(NOW + timedelta(hours=1)) == [postponed]
    store.close(postponed)

    assert store.list_due(NOW + timedelta(hours=1)) == []
    assert marks.has_work(NOW)
    marks.remove("01kfjghhd0ntxtyd15ch19trsx")
    assert not marks.has_work(NOW)


def test_due_erasure_is_found_behind_many_that_are_not_due(
    store: DynamoErasureStore, clients: tuple[Any, Any]
) -> None:
    for number in range(25):
        store.create(replace(ERASURE, tenant=f"acme-{number}", due_at=NOW + timedelta(hours=1)))
    assert not BulkMarks(clients[0], JOBS_TABLE).has_work(NOW)

    due = store.create(replace(ERASURE, tenant="zoo"))

    assert BulkMarks(clients[0], JOBS_TABLE).has_work(NOW)
    assert store.list_due(NOW) == [due]


def test_rows_of_the_tenant_are_found_in_pages_and_removed(
    clients: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("replicate_proxy.aws.tenant_rows._PAGE_SIZE", 7)
    client = clients[0]
    for tenant in ("acme", "acme-2", "globex"):
        for number in range(10):
            key = {"pk": {"S": f"IDEM#{tenant}#{number}"}, "sk": {"S": "IDEM"}}
            client.put_item(TableName=JOBS_TABLE, Item=key)
    rows = DynamoTenantRows(client, JOBS_TABLE, classify_job_row)
    found: list[str] = []
    cursor: str | None = None
    pages = 0
    while pages == 0 or cursor is not None:
        page = rows.read("acme", cursor, is_last_pass=False)
        rows.remove(page.items)
        found += page.items
        cursor, pages = page.cursor, pages + 1

    assert len(found) == len(set(found)) == 10
    assert pages >= 4
    left = {
        item["pk"]["S"].split("#")[1]
        for item in client.scan(TableName=JOBS_TABLE, ConsistentRead=True)["Items"]
    }
    assert left == {"acme-2", "globex"}
    rows.remove(found[:3])


def test_objects_of_the_tenant_are_found_in_pages_and_removed(
    clients: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("replicate_proxy.aws.tenant_objects._PAGE_SIZE", 4)
    client = clients[1]
    for key in (*(f"files/acme/{number}" for number in range(10)), "files/acme-2/1", "records/acme/1"):
        client.put_object(Bucket=BUCKET, Key=key, Body=b"content")
    objects = S3TenantObjects(client, BUCKET, "uploaded_files", lambda tenant: f"files/{tenant}/")
    sizes: list[int] = []
    cursor: str | None = None
    while not sizes or cursor is not None:
        page = objects.read("acme", cursor, is_last_pass=False)
        assert set(page.kinds) == {"uploaded_files"}
        objects.remove(page.items)
        sizes.append(len(page.items))
        cursor = page.cursor

    assert sizes == [4, 4, 2]
    left = {entry["Key"] for entry in client.list_objects_v2(Bucket=BUCKET)["Contents"]}
    assert left == {"files/acme-2/1", "records/acme/1"}
    assert objects.read("acme", None, is_last_pass=True).items == ()
