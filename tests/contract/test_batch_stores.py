"""What every BatchStore does, whether in memory or in DynamoDB."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from replicate_proxy.aws.batch_store import DynamoBatchStore
from replicate_proxy.aws.job_store import DynamoJobStore
from replicate_proxy.errors import ConflictError, PermanentError, RetryableError
from replicate_proxy.ids import generate_id
from replicate_proxy.jobs.model import MAX_BATCH_JOBS, Batch, Document, Job
from tests.support.aws import JOBS_TABLE, create_jobs_table
from tests.support.builders import BASE_URL, TENANT, make_job
from tests.support.clock import NOW
from tests.support.fakes import FakeBatchStore, FakeJobStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from replicate_proxy.ports import BatchStore, JobStore


@dataclass
class Stores:
    batches: BatchStore
    jobs: JobStore


@pytest.fixture(params=["memory", "dynamodb"])
def stores(request: pytest.FixtureRequest) -> Iterator[Stores]:
    if request.param == "memory":
        jobs = FakeJobStore()
        yield Stores(FakeBatchStore(jobs), jobs)
        return
    with mock_aws():
        dynamodb = boto3.client("dynamodb", region_name="us-east-1")
        create_jobs_table(dynamodb)
        kept = DynamoJobStore(dynamodb, JOBS_TABLE)
        yield Stores(DynamoBatchStore(dynamodb, JOBS_TABLE, kept), kept)


def made(count: int = 3) -> tuple[Batch, list[Job]]:
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
def test_a_batch_comes_back_as_it_was_with_its_jobs_in_order(stores: Stores, count: int) -> None:
    batch, jobs = made(count)
    stores.batches.create(batch, jobs)
    assert stores.batches.get(TENANT, batch.id) == batch
    assert list(stores.batches.list_jobs(batch)) == [replace(job, revision=1) for job in jobs]


def test_a_largest_batch_of_large_jobs_fits(stores: Stores) -> None:
    batch, jobs = made(MAX_BATCH_JOBS)
    stores.batches.create(batch, [replace(job, input=Document(text='"' + "x" * 4_000 + '"')) for job in jobs])
    assert len(stores.batches.list_jobs(batch)) == MAX_BATCH_JOBS


def test_all_is_written_or_nothing(stores: Stores) -> None:
    batch, jobs = made()
    stores.jobs.create(jobs[1])
    with pytest.raises(ConflictError):
        stores.batches.create(batch, jobs)
    assert stores.batches.get(TENANT, batch.id) is None
    assert stores.jobs.get(TENANT, jobs[0].id) is None


def test_an_id_is_taken_once(stores: Stores) -> None:
    batch, jobs = made()
    stores.batches.create(batch, jobs)
    with pytest.raises(ConflictError):
        stores.batches.create(batch, made()[1])


def test_another_tenant_finds_none(stores: Stores) -> None:
    batch, jobs = made()
    stores.batches.create(batch, jobs)
    assert stores.batches.get("mallory", batch.id) is None


def test_a_batch_is_not_listed_among_jobs(stores: Stores) -> None:
    batch, jobs = made()
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
def test_a_canceled_transaction_says_what_to_do_next(reasons: list[str], error: type[Exception]) -> None:
    class Canceling:
        def transact_write_items(self, **_: Any) -> None:
            codes = [{"Code": reason} for reason in reasons]
            reply: Any = {
                "Error": {"Code": "TransactionCanceledException", "Message": "canceled"},
                "CancellationReasons": codes,
            }
            raise ClientError(reply, "TransactWriteItems")

    batch, jobs = made()
    with pytest.raises(error):
        DynamoBatchStore(Canceling(), JOBS_TABLE, DynamoJobStore(None, JOBS_TABLE)).create(batch, jobs)
