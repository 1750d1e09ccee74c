"""The contract of JobStore, on moto and on the simulation's AWS, and its failures."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

import boto3
import pytest
from moto import mock_aws

from replicate_proxy.aws.dynamodb import from_item, to_item
from replicate_proxy.aws.job_records import record_from_job
from replicate_proxy.aws.job_store import DynamoJobStore
from replicate_proxy.errors import ConflictError, PermanentError, RetryableError
from replicate_proxy.ids import generate_id, min_id_at
from replicate_proxy.jobs.model import (
    AttemptOutcome,
    Document,
    Job,
    JobStatus,
    PastAttempt,
    ReportChannel,
    Submission,
    SubmissionKind,
)
from replicate_proxy.ports import PredictionClaim, PredictionOwner
from tests.support.aws import JOBS_TABLE, create_in_memory_aws, create_jobs_table, make_client_error
from tests.support.builders import make_job
from tests.support.clock import NOW

if TYPE_CHECKING:
    from collections.abc import Iterator

    from types_boto3_dynamodb import DynamoDBClient

    from replicate_proxy.ports import JobStore


@pytest.fixture(params=["simulation", "moto"])
def store(request: pytest.FixtureRequest) -> Iterator[JobStore]:
    if request.param == "simulation":
        yield DynamoJobStore(create_in_memory_aws().client("dynamodb"), JOBS_TABLE)
        return
    with mock_aws():
        yield DynamoJobStore(create_jobs_table(), JOBS_TABLE)


JOB_WITH_ALL_FIELDS = make_job(
    JobStatus.HARVESTING,
    revision=0,
    key_id="key-1",
    webhook="https://app.test/hook?ä=1",
    webhook_events=("start", "completed"),
    image_options={"format": "avif", "quality": 40},
    metadata={"order": "42", "user.name": "a = b"},
    deadline=NOW + timedelta(seconds=90),
    attempt=2,
    past_attempts=(
        PastAttempt(
            attempt=1,
            outcome=AttemptOutcome.REPLACED,
            replicate_id=None,
            error="unknown",
            ended_at=NOW + timedelta(milliseconds=125),
        ),
    ),
    lease_until=NOW + timedelta(seconds=5),
    create_sent_at=NOW,
    failed_submissions=3,
    checks=2,
    report_channel=ReportChannel.POLL,
    model="acme/model",
    version="v" * 64,
    cancel_requested_at=NOW,
    started_at=NOW,
    completed_at=NOW + timedelta(milliseconds=125),
    replicate_status="succeeded",
    output=Document(object_key="records/a/b/output.json"),
    files=Document(text="[1]"),
    logs=Document(text='"ü🙂"'),
    error="no",
    metrics={"predict_time": 1.25, "total_time": 2},
    expires_at=1_800_000_000,
)


@pytest.mark.parametrize(
    "job",
    [
        JOB_WITH_ALL_FIELDS,
        make_job(revision=0),
        make_job(revision=0, webhook_events=()),
        make_job(JobStatus.SUCCEEDED, revision=0, output=Document(text="null")),
        make_job(revision=0, logs=Document(object_key="records/a/b/logs.json", digest="d" * 32)),
        make_job(revision=0, submission=Submission(kind=SubmissionKind.MODEL, owner="o", name="n.1")),
    ],
)
def test_created_job_is_returned_unchanged(store: JobStore, job: Job) -> None:
    store.create(job)
    assert store.get(job.tenant, job.id) == replace(job, revision=1)


def test_job_of_another_tenant_is_not_found(store: JobStore) -> None:
    job = make_job()
    store.create(job)
    assert store.get("other", job.id) is None
    assert store.list_jobs("other", before_id=None, min_id=None, limit=5).jobs == ()


def test_create_raises_conflict_when_job_exists(store: JobStore) -> None:
    job = make_job()
    store.create(job)
    with pytest.raises(ConflictError):
        store.create(replace(job, correlation_id="other"))
    stored = store.get(job.tenant, job.id)
    assert stored is not None
    assert stored.correlation_id == "c-1"


def test_save_increments_revision(store: JobStore) -> None:
    store.create(make_job(id="a" * 26))
    job = store.get("acme", "a" * 26)
    assert job is not None
    saved = store.save(replace(job, checks=5))
    assert (saved.revision, store.get("acme", job.id)) == (2, saved)


def test_save_raises_conflict_when_revision_changed(store: JobStore) -> None:
    store.create(make_job(id="a" * 26))
    job = store.get("acme", "a" * 26)
    assert job is not None
    store.save(replace(job, checks=1))
    with pytest.raises(ConflictError):
        store.save(replace(job, checks=2))
    stored = store.get("acme", job.id)
    assert stored is not None
    assert stored.checks == 1


class _PutsTwice:
    """DynamoDB whose first response to each put is lost, so that the SDK repeats it."""

    def __init__(self, dynamodb: DynamoDBClient) -> None:
        self._dynamodb = dynamodb

    def __getattr__(self, name: str) -> Any:
        return getattr(self._dynamodb, name)

    def put_item(self, **request: Any) -> Any:
        self._dynamodb.put_item(**request)
        return self._dynamodb.put_item(**request)


def test_save_succeeds_when_sdk_repeats_the_write() -> None:
    with mock_aws():
        dynamodb = create_jobs_table()
        store = DynamoJobStore(dynamodb, JOBS_TABLE)
        store.create(make_job(id="a" * 26))
        job = store.get("acme", "a" * 26)
        assert job is not None
        repeating_client = cast(Any, _PutsTwice(dynamodb))
        saved = DynamoJobStore(repeating_client, JOBS_TABLE).save(replace(job, checks=7))
        assert store.get("acme", job.id) == saved


def test_save_raises_conflict_when_job_is_deleted(store: JobStore) -> None:
    with pytest.raises(ConflictError):
        store.save(make_job())


class TestPages:
    @pytest.fixture(autouse=True)
    def jobs(self, store: JobStore) -> list[str]:
        ids = [generate_id(NOW + timedelta(seconds=number)) for number in range(7)]
        for job_id in ids:
            store.create(make_job(id=job_id))
        store.create(make_job(tenant="other"))
        return ids

    def test_page_is_sorted_newest_first(self, store: JobStore, jobs: list[str]) -> None:
        page = store.list_jobs("acme", before_id=None, min_id=None, limit=100)
        assert [job.id for job in page.jobs] == jobs[::-1]
        assert page.next_before_id is None

    @pytest.mark.parametrize("limit", [1, 2, 3, 6, 7, 8])
    def test_pages_contain_every_job_once(self, store: JobStore, jobs: list[str], limit: int) -> None:
        listed: list[str] = []
        before_id: str | None = None
        for _ in range(10):
            page = store.list_jobs("acme", before_id=before_id, min_id=None, limit=limit)
            assert len(page.jobs) <= limit
            listed += [job.id for job in page.jobs]
            before_id = page.next_before_id
            if before_id is None:
                break
        assert listed == jobs[::-1]

    @pytest.mark.parametrize("limit", [1, 2, 3, 6, 7, 8])
    def test_pages_of_newer_jobs_contain_every_job_once(
        self, store: JobStore, jobs: list[str], limit: int
    ) -> None:
        listed: list[str] = []
        after_id: str | None = "0" * 26
        while after_id is not None:
            page = store.list_newer_jobs("acme", after_id=after_id, before_id=None, limit=limit)
            assert len(page.jobs) <= limit
            assert page.next_before_id == page.jobs[-1].id
            listed = [*(job.id for job in page.jobs), *listed]
            after_id = page.previous_after_id
        assert listed == jobs[::-1]

    def test_newer_jobs_exclude_both_bounds(self, store: JobStore, jobs: list[str]) -> None:
        page = store.list_newer_jobs("acme", after_id=jobs[1], before_id=jobs[4], limit=2)
        assert [job.id for job in page.jobs] == [jobs[3], jobs[2]]
        assert page.previous_after_id is None
        assert store.list_newer_jobs("acme", after_id=jobs[-1], before_id=None, limit=5).jobs == ()
        assert store.list_newer_jobs("acme", after_id="z" * 26, before_id=jobs[0], limit=5).jobs == ()

    def test_page_is_limited_to_time_range(self, store: JobStore, jobs: list[str]) -> None:
        low = min_id_at(NOW + timedelta(seconds=2))
        high = min_id_at(NOW + timedelta(seconds=5))
        page = store.list_jobs("acme", before_id=high, min_id=low, limit=100)
        assert [job.id for job in page.jobs] == jobs[2:5][::-1]

    def test_page_of_empty_range_is_empty(self, store: JobStore) -> None:
        page = store.list_jobs("acme", before_id="0" * 26, min_id="z" * 26, limit=100)
        assert (page.jobs, page.next_before_id) == ((), None)


class TestDueJobs:
    def test_due_jobs_of_all_shards_are_sorted_by_time(self, store: JobStore) -> None:
        jobs = [
            make_job(next_check_at=NOW - timedelta(seconds=number), id=f"{'a' * 24}{number:02d}")
            for number in range(30)
        ]
        for job in jobs:
            store.create(job)
        due_jobs = store.list_due_jobs(before=NOW, limit=10)
        assert [due_job.id for due_job in due_jobs] == [job.id for job in jobs[::-1][:10]]
        assert {due_job.tenant for due_job in due_jobs} == {"acme"}
        assert due_jobs[0].next_check_at == jobs[29].next_check_at

    def test_job_is_due_from_its_next_check(self, store: JobStore) -> None:
        store.create(make_job(next_check_at=NOW + timedelta(milliseconds=1)))
        store.create(make_job(JobStatus.SUCCEEDED))
        assert list(store.list_due_jobs(before=NOW, limit=10)) == []
        assert len(store.list_due_jobs(before=NOW + timedelta(milliseconds=1), limit=10)) == 1

    def test_terminal_job_is_not_due(self, store: JobStore) -> None:
        store.create(make_job(id="a" * 26, next_check_at=NOW))
        job = store.get("acme", "a" * 26)
        assert job is not None
        store.save(replace(job, status=JobStatus.FAILED, next_check_at=None))
        assert list(store.list_due_jobs(before=NOW, limit=10)) == []

    def test_due_job_has_tenant_with_separator_in_its_name(self, store: JobStore) -> None:
        store.create(make_job(tenant="a#b", next_check_at=NOW))
        assert [due_job.tenant for due_job in store.list_due_jobs(before=NOW, limit=1)] == ["a#b"]


class _ThrottledShards:
    """DynamoDB that throttles queries of some shards of the due index."""

    def __init__(self, dynamodb: DynamoDBClient, *shards: int) -> None:
        self._dynamodb = dynamodb
        self._throttled = {f"DUE#{shard}" for shard in shards}

    def query(self, **request: Any) -> Any:
        if request["ExpressionAttributeValues"][":shard"]["S"] in self._throttled:
            raise make_client_error("ProvisionedThroughputExceededException")
        return self._dynamodb.query(**request)


def test_due_jobs_of_readable_shards_are_listed_when_others_are_throttled() -> None:
    with mock_aws():
        dynamodb = create_jobs_table()
        jobs = [make_job(id=f"{'a' * 25}{number}", next_check_at=NOW) for number in range(8)]
        for job in jobs:
            DynamoJobStore(dynamodb, JOBS_TABLE).create(job)

        some_throttled = cast(Any, _ThrottledShards(dynamodb, 0, 3, 7))
        due_jobs = DynamoJobStore(some_throttled, JOBS_TABLE).list_due_jobs(before=NOW, limit=9)
        assert {due_job.id[-1] for due_job in due_jobs} == set("12456")
        with pytest.raises(RetryableError):
            DynamoJobStore(some_throttled, JOBS_TABLE).list_due_jobs(before=NOW, limit=9, requires_all=True)
        all_throttled = cast(Any, _ThrottledShards(dynamodb, *range(8)))
        with pytest.raises(RetryableError):
            DynamoJobStore(all_throttled, JOBS_TABLE).list_due_jobs(before=NOW, limit=9)


def test_prediction_can_be_claimed_by_one_job_only(store: JobStore) -> None:
    assert store.get_prediction_owner("p1") is None
    assert store.claim_prediction("p1", "acme", "job-a", now=NOW)
    assert store.claim_prediction("p1", "acme", "job-a", now=NOW)
    assert not store.claim_prediction("p1", "acme", "job-b", now=NOW)
    assert not store.claim_prediction("p1", "globex", "job-a", now=NOW)
    assert store.get_prediction_owner("p1") == PredictionOwner("acme", "job-a", PredictionClaim.CERTAIN)


def test_prediction_is_adopted_together_with_job_or_not_at_all(store: JobStore) -> None:
    first, second = make_job(id="a" * 26), make_job(id="b" * 26)
    for job in (first, second):
        store.create(job)

    adopted = store.adopt_prediction(replace(first, replicate_id="p1"), now=NOW)

    assert store.get(first.tenant, first.id) == adopted
    owner = PredictionOwner(first.tenant, first.id, PredictionClaim.ADOPTED)
    assert store.get_prediction_owner("p1") == owner
    # Another job cannot adopt the same prediction, nor a job that has changed another one.
    with pytest.raises(ConflictError):
        store.adopt_prediction(replace(second, replicate_id="p1"), now=NOW)
    with pytest.raises(ConflictError):
        store.adopt_prediction(replace(first, replicate_id="p2"), now=NOW)
    assert store.get(second.tenant, second.id) == second
    assert store.get_prediction_owner("p2") is None


def test_predictions_of_a_tenants_account_are_claimed_apart(store: JobStore) -> None:
    job = make_job(replicate_account="own")
    store.create(job)

    adopted = store.adopt_prediction(replace(job, replicate_id="p1"), now=NOW)

    assert store.get(job.tenant, job.id) == adopted
    assert adopted.replicate_account == "own"
    assert store.get_prediction_owner("p1") is None
    assert store.get_prediction_owner(job.account.qualify("p1")) is not None


def test_disputed_prediction_is_transferred_to_its_job(store: JobStore) -> None:
    job = make_job(id="a" * 26)
    store.dispute_prediction("p1", "acme", "job-a", now=NOW)
    store.dispute_prediction("p1", "acme", "job-b", now=NOW)
    disputed = PredictionOwner("acme", "job-a", PredictionClaim.DISPUTED)
    assert store.get_prediction_owner("p1") == disputed

    adopted = replace(disputed, claim=PredictionClaim.ADOPTED)
    with pytest.raises(ConflictError):
        store.transfer_prediction("p1", adopted, job, changed=(), now=NOW)
    assert store.get_prediction_owner("p1") == disputed
    assert store.transfer_prediction("p1", disputed, job, changed=(), now=NOW) == []
    owner = PredictionOwner(job.tenant, job.id, PredictionClaim.CERTAIN)
    assert store.get_prediction_owner("p1") == owner


def test_adopted_prediction_is_transferred_together_with_both_jobs_or_not_at_all(store: JobStore) -> None:
    first, own = make_job(id="a" * 26), make_job(id="b" * 26)
    for job in (first, own):
        store.create(job)
    adopter = store.adopt_prediction(replace(first, replicate_id="p1"), now=NOW)
    owner = PredictionOwner(first.tenant, first.id, PredictionClaim.ADOPTED)
    changed_own, changed = replace(own, replicate_id="p1"), replace(adopter, replicate_id=None)

    outdated = replace(first, replicate_id=None)
    with pytest.raises(ConflictError):
        store.transfer_prediction("p1", owner, own, changed=[changed_own, outdated], now=NOW)
    assert store.get_prediction_owner("p1") == owner
    assert store.get(own.tenant, own.id) == own
    saved = store.transfer_prediction("p1", owner, own, changed=[changed_own, changed], now=NOW)

    assert saved == [replace(one, revision=one.revision + 1) for one in (changed_own, changed)]
    assert [store.get(job.tenant, job.id) for job in (own, first)] == saved
    assert store.get_prediction_owner("p1") == PredictionOwner(own.tenant, own.id, PredictionClaim.CERTAIN)


class _LeavesKeysUnprocessed:
    """DynamoDB that returns all keys but one unprocessed, `times` times."""

    def __init__(self, jobs: list[Job], times: int) -> None:
        self.jobs, self.times, self.calls = jobs, times, 0

    def query(self, **_: Any) -> dict[str, Any]:
        return {"Items": [{"id": {"S": job.id}} for job in self.jobs]}

    def batch_get_item(self, *, RequestItems: dict[str, Any]) -> dict[str, Any]:  # noqa: N803 - AWS's name
        self.calls += 1
        keys = [from_item(key)["pk"] for key in RequestItems[JOBS_TABLE]["Keys"]]
        processed = keys if self.calls > self.times else keys[:1]
        items = [to_item(record_from_job(job)) for job in self.jobs if f"JOB#acme#{job.id}" in processed]
        unprocessed = [
            key for key in RequestItems[JOBS_TABLE]["Keys"] if from_item(key)["pk"] not in processed
        ]
        return {
            "Responses": {JOBS_TABLE: items},
            "UnprocessedKeys": {JOBS_TABLE: {"Keys": unprocessed}} if unprocessed else {},
        }


def test_unprocessed_keys_are_read_again() -> None:
    jobs = [make_job() for _ in range(4)]
    client = cast(Any, _LeavesKeysUnprocessed(jobs, 2))
    page = DynamoJobStore(client, JOBS_TABLE).list_jobs("acme", before_id=None, min_id=None, limit=10)
    assert [job.id for job in page.jobs] == [job.id for job in jobs]


def test_page_raises_retryable_error_when_keys_stay_unprocessed() -> None:
    client = cast(Any, _LeavesKeysUnprocessed([make_job() for _ in range(9)], 99))
    with pytest.raises(RetryableError):
        DynamoJobStore(client, JOBS_TABLE).list_jobs("acme", before_id=None, min_id=None, limit=10)


@mock_aws()
def test_missing_table_is_a_permanent_error() -> None:
    store = DynamoJobStore(boto3.client("dynamodb"), "missing")
    with pytest.raises(PermanentError):
        store.get("acme", "a" * 26)
