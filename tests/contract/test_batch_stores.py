"""The contract of BatchStore, on moto and on the simulation's AWS."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from replicate_proxy.aws.batch_store import DynamoBatchStore
from replicate_proxy.aws.job_store import DynamoJobStore
from replicate_proxy.errors import ConflictError, PermanentError, RetryableError
from replicate_proxy.ids import generate_id
from replicate_proxy.jobs.model import MAX_BATCH_JOBS, Batch, Document, Job
from tests.support.aws import JOBS_TABLE, create_in_memory_aws, create_jobs_table, make_failing_client
from tests.support.builders import BASE_URL, TENANT, make_job
from tests.support.clock import NOW

if TYPE_CHECKING:
    from collections.abc import Iterator

    from types_boto3_dynamodb import DynamoDBClient

    from replicate_proxy.ports import BatchStore, JobStore


@dataclass
class Stores:
    """A batch store, and the job store beside it."""

    batches: BatchStore
    jobs: JobStore


@pytest.fixture(params=["simulation", "moto"])
def stores(request: pytest.FixtureRequest) -> Iterator[Stores]:
    if request.param == "simulation":
        yield make_stores(create_in_memory_aws().client("dynamodb"))
        return
    with mock_aws():
        yield make_stores(create_jobs_table())


def make_stores(dynamodb: DynamoDBClient) -> Stores:
    job_store = DynamoJobStore(dynamodb, JOBS_TABLE)
    return Stores(DynamoBatchStore(dynamodb, JOBS_TABLE, job_store), job_store)


def make_batch(count: int = 3) -> tuple[Batch, list[Job]]:
    batch_id = generate_id(NOW)
    jobs = [make_job(revision=0, batch_id=batch_id) for _ in range(count)]
    return (
        Batch(
            tenant=TENANT,
            id=batch_id,
            created_at=NOW,
            public_base_url=BASE_URL,
            job_ids=tuple(job.id for job in jobs),
            expires_at=1_800_000_000,
        ),
        jobs,
    )


@pytest.mark.parametrize("count", [1, MAX_BATCH_JOBS])
def test_created_batch_is_returned_with_its_jobs_in_order(stores: Stores, count: int) -> None:
    batch, jobs = make_batch(count)
    stores.batches.create(batch, jobs)
    assert stores.batches.get(TENANT, batch.id) == batch
    assert list(stores.batches.list_jobs(batch)) == [replace(job, revision=1) for job in jobs]


def test_batches_are_listed_newest_first_by_tenant_and_of_all(stores: Stores) -> None:
    stored = []
    for age_seconds, tenant in ((3, TENANT), (2, "other"), (1, TENANT)):
        batch, jobs = make_batch(1)
        batch_id = generate_id(NOW - timedelta(seconds=age_seconds))
        batch = replace(batch, tenant=tenant, id=batch_id)
        stores.batches.create(batch, [replace(job, tenant=tenant) for job in jobs])
        stored.append(batch)
    oldest, of_other, newest = stored

    assert list(stores.batches.list_batches(TENANT, before_id=None, limit=5)) == [newest, oldest]
    assert list(stores.batches.list_batches(None, before_id=None, limit=2)) == [newest, of_other]
    assert list(stores.batches.list_batches(None, before_id=of_other.id, limit=2)) == [oldest]
    assert list(stores.batches.list_batches("nobody", before_id=None, limit=2)) == []
    assert stores.jobs.list_jobs(TENANT, before_id=None, min_id=None, limit=9).jobs


def test_largest_batch_of_large_jobs_fits_into_one_transaction(stores: Stores) -> None:
    batch, jobs = make_batch(MAX_BATCH_JOBS)
    stores.batches.create(batch, [replace(job, input=Document(text='"' + "x" * 4_000 + '"')) for job in jobs])
    assert len(stores.batches.list_jobs(batch)) == MAX_BATCH_JOBS


def test_create_writes_nothing_when_a_job_exists(stores: Stores) -> None:
    batch, jobs = make_batch()
    stores.jobs.create(jobs[1])
    with pytest.raises(ConflictError):
        stores.batches.create(batch, jobs)
    assert stores.batches.get(TENANT, batch.id) is None
    assert stores.jobs.get(TENANT, jobs[0].id) is None


def test_create_raises_conflict_when_batch_exists(stores: Stores) -> None:
    batch, jobs = make_batch()
    stores.batches.create(batch, jobs)
    with pytest.raises(ConflictError):
        stores.batches.create(batch, make_batch()[1])


def test_batch_of_another_tenant_is_not_found(stores: Stores) -> None:
    batch, jobs = make_batch()
    stores.batches.create(batch, jobs)
    assert stores.batches.get("mallory", batch.id) is None


def test_batch_is_not_listed_as_a_job(stores: Stores) -> None:
    batch, jobs = make_batch()
    stores.batches.create(batch, jobs)
    page = stores.jobs.list_jobs(TENANT, before_id=None, min_id=None, limit=10)
    assert {job.id for job in page.jobs} == set(batch.job_ids)


@pytest.mark.parametrize(
    ("reasons", "error"),
    [
        (["None", "TransactionConflict"], RetryableError),
        (["ThrottlingError", "None"], RetryableError),
        (["None", "ConditionalCheckFailed"], ConflictError),
        (["ValidationError", "None"], PermanentError),
    ],
)
def test_canceled_transaction_is_translated_by_its_reasons(
    reasons: list[str], error: type[Exception]
) -> None:
    response: Any = {
        "Error": {"Code": "TransactionCanceledException", "Message": "canceled"},
        "CancellationReasons": [{"Code": reason} for reason in reasons],
    }
    client = make_failing_client(ClientError(response, "TransactWriteItems"))
    store = DynamoBatchStore(client, JOBS_TABLE, DynamoJobStore(client, JOBS_TABLE))
    with pytest.raises(error):
        store.create(*make_batch())
