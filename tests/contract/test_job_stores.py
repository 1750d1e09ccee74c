"""What every JobStore does, whether in memory or in DynamoDB."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

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
from tests.support.aws import JOBS_TABLE, create_jobs_table
from tests.support.builders import make_job
from tests.support.clock import NOW
from tests.support.fakes import FakeJobStore

if TYPE_CHECKING:
    from collections.abc import Iterator

    from replicate_proxy.ports import JobStore


@pytest.fixture(params=["memory", "dynamodb"])
def store(request: pytest.FixtureRequest) -> Iterator[JobStore]:
    if request.param == "memory":
        yield FakeJobStore()
        return
    with mock_aws():
        dynamodb = boto3.client("dynamodb", region_name="us-east-1")
        create_jobs_table(dynamodb)
        yield DynamoJobStore(dynamodb, JOBS_TABLE)


FULL = make_job(
    JobStatus.HARVESTING,
    revision=0,
    key_id="key-1",
    webhook="https://app.test/hook?ä=1",
    webhook_events=("start", "completed"),
    image_options={"format": "avif", "quality": 40},
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
        FULL,
        make_job(revision=0),
        make_job(revision=0, webhook_events=()),
        make_job(JobStatus.SUCCEEDED, revision=0, output=Document(text="null")),
        make_job(revision=0, submission=Submission(kind=SubmissionKind.MODEL, owner="o", name="n.1")),
    ],
)
def test_a_job_comes_back_as_it_was(store: JobStore, job: Job) -> None:
    store.create(job)
    assert store.get(job.tenant, job.id) == replace(job, revision=1)


def test_another_tenant_finds_nothing(store: JobStore) -> None:
    job = make_job()
    store.create(job)
    assert store.get("other", job.id) is None
    assert store.list_jobs("other", before_id=None, min_id=None, limit=5).jobs == ()


def test_an_id_is_taken_once(store: JobStore) -> None:
    job = make_job()
    store.create(job)
    with pytest.raises(ConflictError):
        store.create(replace(job, correlation_id="other"))
    there = store.get(job.tenant, job.id)
    assert there is not None
    assert there.correlation_id == "c-1"


def test_a_save_grows_the_rev(store: JobStore) -> None:
    store.create(make_job(id="a" * 26))
    job = store.get("acme", "a" * 26)
    assert job is not None
    saved = store.save(replace(job, checks=5))
    assert (saved.revision, store.get("acme", job.id)) == (2, saved)


def test_the_slower_of_two_saves_loses(store: JobStore) -> None:
    store.create(make_job(id="a" * 26))
    job = store.get("acme", "a" * 26)
    assert job is not None
    store.save(replace(job, checks=1))
    with pytest.raises(ConflictError):
        store.save(replace(job, checks=2))
    there = store.get("acme", job.id)
    assert there is not None
    assert there.checks == 1


class _AnswerLost:
    """Every put reaches DynamoDB twice, as where the SDK had no answer to the first."""

    def __init__(self, dynamodb: Any) -> None:
        self._dynamodb = dynamodb

    def __getattr__(self, name: str) -> Any:
        return getattr(self._dynamodb, name)

    def put_item(self, **request: Any) -> Any:
        self._dynamodb.put_item(**request)
        return self._dynamodb.put_item(**request)


def test_a_save_whose_answer_was_lost_is_known_as_ones_own() -> None:
    with mock_aws():
        dynamodb = boto3.client("dynamodb", region_name="us-east-1")
        create_jobs_table(dynamodb)
        store = DynamoJobStore(dynamodb, JOBS_TABLE)
        store.create(make_job(id="a" * 26))
        job = store.get("acme", "a" * 26)
        assert job is not None
        saved = DynamoJobStore(_AnswerLost(dynamodb), JOBS_TABLE).save(replace(job, checks=7))
        assert store.get("acme", job.id) == saved


def test_a_job_that_is_gone_cannot_be_saved(store: JobStore) -> None:
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

    def test_come_newest_first(self, store: JobStore, jobs: list[str]) -> None:
        page = store.list_jobs("acme", before_id=None, min_id=None, limit=100)
        assert [job.id for job in page.jobs] == jobs[::-1]
        assert page.next_before_id is None

    @pytest.mark.parametrize("limit", [1, 2, 3, 6, 7, 8])
    def test_follow_each_other_without_gap_or_repeat(
        self, store: JobStore, jobs: list[str], limit: int
    ) -> None:
        seen: list[str] = []
        below: str | None = None
        for _ in range(10):
            page = store.list_jobs("acme", before_id=below, min_id=None, limit=limit)
            assert len(page.jobs) <= limit
            seen += [job.id for job in page.jobs]
            below = page.next_before_id
            if below is None:
                break
        assert seen == jobs[::-1]

    def test_are_bounded_by_time(self, store: JobStore, jobs: list[str]) -> None:
        low = min_id_at(NOW + timedelta(seconds=2))
        high = min_id_at(NOW + timedelta(seconds=5))
        page = store.list_jobs("acme", before_id=high, min_id=low, limit=100)
        assert [job.id for job in page.jobs] == jobs[2:5][::-1]

    def test_of_bounds_that_cross_are_empty(self, store: JobStore) -> None:
        page = store.list_jobs("acme", before_id="0" * 26, min_id="z" * 26, limit=100)
        assert (page.jobs, page.next_before_id) == ((), None)


class TestDueJobs:
    def test_come_longest_overdue_first_over_all_shards(self, store: JobStore) -> None:
        jobs = [
            make_job(next_check_at=NOW - timedelta(seconds=number), id=f"{'a' * 24}{number:02d}")
            for number in range(30)
        ]
        for job in jobs:
            store.create(job)
        rows = store.list_due_jobs(before=NOW, limit=10)
        assert [row.id for row in rows] == [job.id for job in jobs[::-1][:10]]
        assert {row.tenant for row in rows} == {"acme"}
        assert rows[0].next_check_at == jobs[29].next_check_at

    def test_are_only_those_whose_time_has_come(self, store: JobStore) -> None:
        store.create(make_job(next_check_at=NOW + timedelta(milliseconds=1)))
        store.create(make_job(JobStatus.SUCCEEDED))
        assert list(store.list_due_jobs(before=NOW, limit=10)) == []
        assert len(store.list_due_jobs(before=NOW + timedelta(milliseconds=1), limit=10)) == 1

    def test_leave_the_index_when_they_end(self, store: JobStore) -> None:
        store.create(make_job(id="a" * 26, next_check_at=NOW))
        job = store.get("acme", "a" * 26)
        assert job is not None
        store.save(replace(job, status=JobStatus.FAILED, next_check_at=None))
        assert list(store.list_due_jobs(before=NOW, limit=10)) == []

    def test_keep_a_tenant_with_a_strange_name(self, store: JobStore) -> None:
        store.create(make_job(tenant="a#b", next_check_at=NOW))
        assert [row.tenant for row in store.list_due_jobs(before=NOW, limit=1)] == ["a#b"]


class _Throttled:
    """A table of whose due index some shards are refused."""

    def __init__(self, dynamodb: Any, *shards: int) -> None:
        self._dynamodb = dynamodb
        self._refused = {f"DUE#{shard}" for shard in shards}

    def query(self, **request: Any) -> Any:
        if request["ExpressionAttributeValues"][":shard"]["S"] in self._refused:
            code = "ProvisionedThroughputExceededException"
            raise ClientError({"Error": {"Code": code, "Message": "too many"}}, "Query")
        return self._dynamodb.query(**request)


def test_shards_that_cannot_be_read_keep_no_other_waiting() -> None:
    with mock_aws():
        dynamodb = boto3.client("dynamodb", region_name="us-east-1")
        create_jobs_table(dynamodb)
        jobs = [make_job(id=f"{'a' * 25}{number}", next_check_at=NOW) for number in range(8)]
        for job in jobs:
            DynamoJobStore(dynamodb, JOBS_TABLE).create(job)

        partly = DynamoJobStore(_Throttled(dynamodb, 0, 3, 7), JOBS_TABLE)
        assert {row.id[-1] for row in partly.list_due_jobs(before=NOW, limit=9)} == set("12456")
        with pytest.raises(RetryableError):
            DynamoJobStore(_Throttled(dynamodb, *range(8)), JOBS_TABLE).list_due_jobs(before=NOW, limit=9)


def test_a_prediction_belongs_to_one_job(store: JobStore) -> None:
    assert store.get_prediction_owner("p1") is None
    assert store.claim_prediction("p1", "acme", "job-a")
    assert store.claim_prediction("p1", "acme", "job-a")
    assert not store.claim_prediction("p1", "acme", "job-b")
    assert store.get_prediction_owner("p1") == "job-a"


class Throttled:
    """DynamoDB that hands back keys unread, `times` times."""

    def __init__(self, jobs: list[Job], times: int) -> None:
        self.jobs, self.times, self.asked = jobs, times, 0

    def query(self, **_: Any) -> dict[str, Any]:
        return {"Items": [{"id": {"S": job.id}} for job in self.jobs]}

    def batch_get_item(self, *, RequestItems: dict[str, Any]) -> dict[str, Any]:  # noqa: N803 - AWS's name
        from replicate_proxy.aws.dynamodb import from_item, to_item  # noqa: PLC0415 - needed here alone
        from replicate_proxy.aws.job_records import record_from_job  # noqa: PLC0415

        self.asked += 1
        keys = [from_item(key)["pk"] for key in RequestItems[JOBS_TABLE]["Keys"]]
        ready = keys if self.asked > self.times else keys[:1]
        items = [to_item(record_from_job(job)) for job in self.jobs if f"JOB#acme#{job.id}" in ready]
        left = [key for key in RequestItems[JOBS_TABLE]["Keys"] if from_item(key)["pk"] not in ready]
        return {
            "Responses": {JOBS_TABLE: items},
            "UnprocessedKeys": {JOBS_TABLE: {"Keys": left}} if left else {},
        }


def test_keys_left_unread_are_asked_for_again() -> None:
    jobs = [make_job() for _ in range(4)]
    page = DynamoJobStore(Throttled(jobs, 2), JOBS_TABLE).list_jobs(
        "acme", before_id=None, min_id=None, limit=10
    )
    assert [job.id for job in page.jobs] == [job.id for job in jobs]


def test_keys_left_unread_for_good_make_no_short_page() -> None:
    jobs = [make_job() for _ in range(9)]
    with pytest.raises(RetryableError):
        DynamoJobStore(Throttled(jobs, 99), JOBS_TABLE).list_jobs(
            "acme", before_id=None, min_id=None, limit=10
        )


@mock_aws()
def test_a_table_that_is_not_there_is_no_passing_failure() -> None:
    store = DynamoJobStore(boto3.client("dynamodb", region_name="us-east-1"), "missing")
    with pytest.raises(PermanentError):
        store.get("acme", "a" * 26)
