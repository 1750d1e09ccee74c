"""The contracts of deletion's ports: for the fake and for AWS, as moto and the simulation have it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from moto import mock_aws

from replicate_proxy.aws.batch_store import DynamoBatchStore
from replicate_proxy.aws.deletion_store import DynamoDeletionStore
from replicate_proxy.aws.delivery_store import DynamoDeliveryStore
from replicate_proxy.aws.dynamodb import batch_delete
from replicate_proxy.aws.job_store import DynamoJobStore
from replicate_proxy.aws.object_remover import S3ObjectRemover
from replicate_proxy.aws.row_removers import DynamoDeliveryRemover, DynamoUsageMarkRemover
from replicate_proxy.aws.usage_store import DynamoUsageStore
from replicate_proxy.deletion.model import build_deletion
from replicate_proxy.errors import ConflictError, RetryableError
from replicate_proxy.jobs.model import AttemptOutcome, JobStatus, PastAttempt
from replicate_proxy.ports import DueJob
from replicate_proxy.usage.model import EndedJob
from tests.support.aws import (
    DELIVERIES_TABLE,
    JOBS_TABLE,
    USAGE_TABLE,
    create_deliveries_table,
    create_in_memory_aws,
    create_jobs_table,
    create_usage_table,
)
from tests.support.builders import make_job
from tests.support.clock import NOW
from tests.support.webhook_builders import make_delivery

if TYPE_CHECKING:
    from collections.abc import Iterator

    from replicate_proxy.deletion.ports import DeletionStore
    from replicate_proxy.jobs.model import Job
    from replicate_proxy.ports import JobStore

BUCKET = "data"


@dataclass
class Stores:
    """A store of deletions, and the job store beside it."""

    deletions: DeletionStore
    jobs: JobStore

    def add(self, status: JobStatus = JobStatus.SUCCEEDED, **fields: Any) -> Job:
        job = make_job(status, revision=0, **fields)
        self.jobs.create(job)
        return replace(job, revision=1)

    def list_due(self, seconds: float = 0, limit: int = 10) -> list[DueJob]:
        return list(self.deletions.list_due(before=NOW + timedelta(seconds=seconds), limit=limit))


@pytest.fixture(params=["simulation", "moto"])
def stores(request: pytest.FixtureRequest) -> Iterator[Stores]:
    if request.param == "simulation":
        yield make_stores(create_in_memory_aws().client("dynamodb"))
        return
    with mock_aws():
        yield make_stores(create_jobs_table())


def make_stores(dynamodb: Any) -> Stores:
    jobs = DynamoJobStore(dynamodb, JOBS_TABLE)
    batches = DynamoBatchStore(dynamodb, JOBS_TABLE, jobs)
    return Stores(DynamoDeletionStore(dynamodb, JOBS_TABLE, batches), jobs)


def test_deletion_takes_the_place_of_its_job(stores: Stores) -> None:
    job = stores.add(replicate_id="p1", batch_id="b1", idempotency_hash="ab")
    assert stores.deletions.get(job.tenant, job.id) == job
    deletion = build_deletion(job, NOW)

    stores.deletions.mark(job, deletion)

    assert stores.deletions.get(job.tenant, job.id) == deletion
    assert stores.jobs.get(job.tenant, job.id) is None
    assert stores.jobs.get_many(job.tenant, [job.id]) == {}
    assert stores.jobs.is_deleted(job.tenant, job.id)
    with pytest.raises(ConflictError):
        stores.jobs.create(job)
    with pytest.raises(ConflictError):
        stores.jobs.save(job)


def test_unknown_job_is_neither_found_nor_deleted(stores: Stores) -> None:
    job = make_job(JobStatus.FAILED)

    assert stores.deletions.get(job.tenant, job.id) is None
    assert not stores.jobs.is_deleted(job.tenant, job.id)
    with pytest.raises(ConflictError):
        stores.deletions.mark(job, build_deletion(job, NOW))


def test_job_that_has_changed_is_not_marked(stores: Stores) -> None:
    job = stores.add()
    saved = stores.jobs.save(job)

    with pytest.raises(ConflictError):
        stores.deletions.mark(job, build_deletion(job, NOW))

    assert stores.deletions.get(job.tenant, job.id) == saved


def test_due_are_deletions_and_ended_jobs_the_longest_first(stores: Stores) -> None:
    first = stores.add(delete_at=NOW - timedelta(days=1))
    second = stores.add(JobStatus.FAILED)
    third = stores.add(JobStatus.CANCELED, delete_at=NOW + timedelta(seconds=5))
    stores.add(JobStatus.PROCESSING, delete_at=NOW - timedelta(days=1))
    stores.add()
    stores.deletions.mark(second, replace(build_deletion(second, NOW), next_pass_at=NOW))

    assert [row.id for row in stores.list_due(4)] == [first.id, second.id]
    assert [row.id for row in stores.list_due(5)] == [first.id, second.id, third.id]
    assert stores.list_due(5, limit=1) == [DueJob(first.tenant, first.id, NOW - timedelta(days=1))]
    assert not stores.jobs.list_due_jobs(before=NOW, limit=10)


def test_postponed_deletion_is_due_later(stores: Stores) -> None:
    job = stores.add()
    deletion = build_deletion(job, NOW)
    stores.deletions.mark(job, deletion)
    until = NOW + timedelta(minutes=15)

    stores.deletions.postpone(deletion, until)

    assert stores.list_due(899) == []
    assert stores.list_due(900) == [DueJob(job.tenant, job.id, until)]
    assert stores.deletions.get(job.tenant, job.id) == replace(deletion, next_pass_at=until)


def test_removal_frees_own_predictions_only_and_can_be_repeated(stores: Stores) -> None:
    past = PastAttempt(attempt=1, outcome=AttemptOutcome.FAILED, replicate_id="p0", error="no", ended_at=NOW)
    other = stores.add()
    job = stores.add(replicate_id="p1", past_attempts=(past, replace(past, replicate_id="p-other")))
    for name, owner in (("p0", job), ("p1", job), ("p-other", other)):
        stores.jobs.claim_prediction(name, owner.tenant, owner.id, now=NOW)
    deletion = build_deletion(job, NOW)
    stores.deletions.mark(job, deletion)

    for _ in range(2):
        stores.deletions.remove(deletion)
        assert stores.deletions.get(job.tenant, job.id) is None
        assert stores.jobs.get_prediction_owner("p0") is None
        assert stores.jobs.get_prediction_owner("p1") is None
        assert stores.jobs.get_prediction_owner("p-other") is not None
    assert stores.jobs.get(other.tenant, other.id) == other
    assert not stores.jobs.is_deleted(job.tenant, job.id)


def test_removal_leaves_a_job_that_is_not_deleted(stores: Stores) -> None:
    job = stores.add()

    stores.deletions.remove(build_deletion(job, NOW))

    assert stores.deletions.get(job.tenant, job.id) == job


@pytest.fixture(params=["simulation", "moto"])
def clients(request: pytest.FixtureRequest) -> Iterator[tuple[Any, Any]]:
    """Clients of DynamoDB and S3."""
    if request.param == "simulation":
        aws = create_in_memory_aws()
        aws.s3.create_bucket(BUCKET)
        yield aws.client("dynamodb"), aws.client("s3")
        return
    with mock_aws():
        s3 = boto3.client("s3", region_name="us-east-1")
        s3.create_bucket(Bucket=BUCKET)
        create_usage_table()
        yield create_deliveries_table(), s3


def test_objects_with_a_prefix_are_removed(clients: tuple[Any, Any]) -> None:
    _, s3 = clients
    for number in range(1002):
        s3.put_object(Bucket=BUCKET, Key=f"outputs/a/{number}", Body=b"x")
    s3.put_object(Bucket=BUCKET, Key="outputs/ab/1", Body=b"x")
    remover = S3ObjectRemover(s3, BUCKET)

    assert remover.remove_all("outputs/a/") == 1002
    assert remover.remove_all("outputs/a/") == 0

    assert [entry["Key"] for entry in s3.list_objects_v2(Bucket=BUCKET)["Contents"]] == ["outputs/ab/1"]


@pytest.mark.parametrize("prefix", ["", "outputs/a"])
def test_prefix_of_others_objects_is_refused(clients: tuple[Any, Any], prefix: str) -> None:
    with pytest.raises(ValueError, match="without a slash"):
        S3ObjectRemover(clients[1], BUCKET).remove_all(prefix)


def test_object_that_cannot_be_removed_is_an_error() -> None:
    class Client:
        def list_objects_v2(self, **_: Any) -> Any:
            return {"Contents": [{"Key": "a/1"}]}

        def delete_objects(self, **_: Any) -> Any:
            return {"Errors": [{"Key": "a/1", "Code": "InternalError"}]}

    client: Any = Client()
    with pytest.raises(RetryableError, match="InternalError"):
        S3ObjectRemover(client, BUCKET).remove_all("a/")


def test_deliveries_of_a_job_are_removed(clients: tuple[Any, Any]) -> None:
    dynamodb, _ = clients
    store = DynamoDeliveryStore(dynamodb, DELIVERIES_TABLE, due_shards=8)
    for sequence in range(60):
        store.create(make_delivery(job_id="j1", sequence=sequence))
    store.create(make_delivery(job_id="j2"))
    store.create(make_delivery(job_id="j1", tenant="globex"))
    remover = DynamoDeliveryRemover(dynamodb, DELIVERIES_TABLE)

    assert remover.remove_job("acme", "j1") == 60
    assert remover.remove_job("acme", "j1") == 0

    assert len(store.list_by_job("acme", "j2")) == 1
    assert len(store.list_by_job("globex", "j1")) == 1


def test_mark_of_usage_is_removed(clients: tuple[Any, Any]) -> None:
    dynamodb, _ = clients
    store = DynamoUsageStore(dynamodb, USAGE_TABLE)
    ended = [EndedJob.from_job(make_job(JobStatus.FAILED)) for _ in range(2)]
    store.count(ended, now=NOW)

    DynamoUsageMarkRemover(dynamodb, USAGE_TABLE).remove_job(ended[0].tenant, ended[0].id)

    assert store.find_counted(ended) == {(ended[1].tenant, ended[1].id)}


def test_items_that_stay_unprocessed_are_an_error() -> None:
    calls: list[Any] = []

    class Client:
        def batch_write_item(self, *, RequestItems: Any) -> Any:  # noqa: N803 - boto3's name
            calls.append(RequestItems)
            return {"UnprocessedItems": RequestItems}

    client: Any = Client()
    with pytest.raises(RetryableError, match="unprocessed"):
        batch_delete(client, "table", [{"pk": {"S": "a"}}], "delete rows")
    assert len(calls) == 5


def test_items_that_were_unprocessed_are_deleted_by_the_next_call() -> None:
    calls: list[Any] = []

    class Client:
        def batch_write_item(self, *, RequestItems: Any) -> Any:  # noqa: N803 - boto3's name
            calls.append(RequestItems["table"])
            rest = RequestItems["table"][1:]
            return {"UnprocessedItems": {"table": rest} if rest else {}}

    client: Any = Client()
    batch_delete(client, "table", [{"pk": {"S": name}} for name in "abc"], "delete rows")
    assert [len(call) for call in calls] == [3, 2, 1]
