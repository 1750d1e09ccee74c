"""The contract of JobIndex, on the simulation's AWS and on moto, and how much a search reads."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import timedelta
from threading import Lock
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from moto import mock_aws

from replicate_proxy.aws.job_index import DynamoJobIndex
from replicate_proxy.aws.job_store import DynamoJobStore
from replicate_proxy.jobs.job_filter import JobFilter
from replicate_proxy.jobs.model import TERMINAL_STATUSES, EndReason, Job, JobStatus
from replicate_proxy.operations.job_ports import JobEntry
from replicate_proxy.operations.job_search import JobSearch
from replicate_proxy.usage.report import UsageReader
from tests.support.aws import JOBS_TABLE, create_in_memory_aws, create_jobs_table
from tests.support.builders import make_job
from tests.support.clock import NOW, FakeClock
from tests.support.usage import build_usage_store

if TYPE_CHECKING:
    from collections.abc import Iterator


class Jobs:
    """The index and the store on one table, and the requests that reads have made."""

    def __init__(self, client: Any) -> None:
        self.requests: Counter[str] = Counter()
        self.store = DynamoJobStore(client, JOBS_TABLE)
        counting: Any = _CountingClient(client, self.requests)
        self.index = DynamoJobIndex(counting, JOBS_TABLE)
        self.search = JobSearch(self.index, UsageReader(build_usage_store()), FakeClock())

    def add(self, number: int, status: JobStatus = JobStatus.QUEUED, **fields: Any) -> Job:
        """Store a job that is older the higher its number."""
        job = make_job(status, created_at=NOW - timedelta(minutes=number), **fields)
        self.store.create(job)
        return job

    def find_all(self, limit: int = 2, **criteria: Any) -> list[str]:
        """Return the IDs of all pages."""
        found: list[str] = []
        before_id = None
        while True:
            page = self.search.search(JobFilter(**criteria), before_id=before_id, limit=limit)
            assert len(page.jobs) <= limit
            found += [job.id for job in page.jobs]
            before_id = page.next_before_id
            if before_id is None:
                return found


class _CountingClient:
    def __init__(self, client: Any, requests: Counter[str]) -> None:
        self._client = client
        self._requests = requests
        self._lock = Lock()

    def query(self, **request: Any) -> Any:
        with self._lock:
            self._requests["query"] += 1
        return self._client.query(**request)

    def batch_get_item(self, **request: Any) -> Any:
        (batch,) = request["RequestItems"].values()
        with self._lock:
            self._requests["batch_get_item"] += 1
            self._requests["items"] += len(batch["Keys"])
        return self._client.batch_get_item(**request)


@pytest.fixture(params=["simulation", "moto"])
def jobs(request: pytest.FixtureRequest) -> Iterator[Jobs]:
    if request.param == "simulation":
        yield Jobs(create_in_memory_aws().client("dynamodb"))
        return
    with mock_aws():
        create_jobs_table()
        yield Jobs(boto3.client("dynamodb"))


def test_job_is_found_by_its_id_alone(jobs: Jobs) -> None:
    job = jobs.add(1, tenant="globex")

    assert jobs.index.find(job.id) == JobEntry("globex", job.id)
    assert jobs.index.find(make_job().id) is None


def test_lists_have_all_tenants_jobs_newest_first(jobs: Jobs) -> None:
    added = [jobs.add(number, tenant=("acme", "globex")[number % 2]) for number in range(9)]

    assert jobs.find_all() == [job.id for job in added]
    assert jobs.find_all(tenant="globex") == [job.id for job in added[1::2]]
    assert jobs.find_all(created_after=NOW - timedelta(minutes=2)) == [job.id for job in added[:3]]
    assert jobs.find_all(created_before=NOW - timedelta(minutes=6)) == [job.id for job in added[7:]]


def test_statuses_are_found_by_their_index(jobs: Jobs) -> None:
    queued = jobs.add(1)
    running = jobs.add(2, JobStatus.PROCESSING, tenant="globex")
    failed = jobs.add(3, JobStatus.FAILED, end_reason=EndReason.REPORTED)
    rejected = jobs.add(4, JobStatus.FAILED, end_reason=EndReason.NO_CREDIT, tenant="globex")
    canceled = jobs.add(5, JobStatus.CANCELED, end_reason=EndReason.CANCEL_REQUESTED)
    succeeded = jobs.add(6, JobStatus.SUCCEEDED, end_reason=EndReason.HARVESTED, model="acme/model")

    def find(*statuses: JobStatus, **criteria: Any) -> list[str]:
        return jobs.find_all(statuses=frozenset(statuses), **criteria)

    assert find(JobStatus.QUEUED) == [queued.id]
    assert find(JobStatus.QUEUED, JobStatus.PROCESSING) == [queued.id, running.id]
    assert find(JobStatus.PROCESSING, tenant="acme") == []
    assert find(JobStatus.FAILED) == [failed.id, rejected.id]
    assert find(JobStatus.FAILED, tenant="globex") == [rejected.id]
    assert find(JobStatus.FAILED, end_reason=EndReason.NO_CREDIT) == [rejected.id]
    assert find(JobStatus.CANCELED) == [canceled.id]
    assert find(JobStatus.SUCCEEDED) == [succeeded.id]
    assert find(JobStatus.SUCCEEDED, model="acme/model") == [succeeded.id]
    assert find(JobStatus.SUCCEEDED, model="acme/other") == []
    assert find(JobStatus.FAILED, JobStatus.QUEUED) == [queued.id, failed.id, rejected.id]


def test_job_that_fails_moves_between_indexes(jobs: Jobs) -> None:
    job = jobs.store.get("acme", jobs.add(1).id)
    assert job is not None
    jobs.store.save(replace(job, status=JobStatus.FAILED, next_check_at=None, end_reason=EndReason.EXPIRED))

    assert jobs.index.list_unfinished().entries == ()
    (entry,) = jobs.index.list_ended(JobStatus.FAILED, before_id=None, min_id=None, limit=10)
    assert (entry.id, entry.end_reason) == (job.id, EndReason.EXPIRED)


def test_unfinished_jobs_are_counted_by_status(jobs: Jobs) -> None:
    for number in range(5):
        jobs.add(number)
    jobs.add(6, JobStatus.HARVESTING)
    jobs.add(7, JobStatus.SUCCEEDED)

    counts = jobs.search.count()

    assert counts.is_complete
    assert {status: number for status, number in counts.unfinished.items() if number} == {
        JobStatus.QUEUED: 5,
        JobStatus.HARVESTING: 1,
    }


def test_longest_overdue_jobs_are_listed_with_their_checks(jobs: Jobs) -> None:
    late = [
        jobs.add(number, next_check_at=NOW - timedelta(minutes=minutes))
        for number, minutes in enumerate((4, 9, 6, 3, 0))
    ]

    summary = jobs.search.summarize_unfinished(max_overdue=2)

    assert [(entry.id, entry.next_check_at) for entry in summary.overdue] == [
        (late[1].id, late[1].next_check_at),
        (late[2].id, late[2].next_check_at),
    ]
    assert summary.by_status[JobStatus.QUEUED] == len(late)


CRITERIA: tuple[dict[str, Any], ...] = (
    {},
    {"tenant": "acme"},
    {"statuses": frozenset({JobStatus.FAILED})},
    {"statuses": frozenset({JobStatus.QUEUED})},
    {"statuses": frozenset({JobStatus.FAILED}), "end_reason": EndReason.NO_CREDIT, "tenant": "globex"},
    {"created_before": NOW - timedelta(minutes=90)},
)


def measure_reads(jobs: Jobs) -> list[tuple[int, int]]:
    """Return the queries, and the jobs read, of the first page for each of the criteria."""
    measured = []
    for criteria in CRITERIA:
        jobs.requests.clear()
        jobs.search.search(JobFilter(**criteria), before_id=None, limit=5)
        measured.append((jobs.requests["query"], jobs.requests["items"]))
    return measured


def test_page_reads_as_much_among_ten_thousand_jobs_as_among_hundred() -> None:
    jobs = Jobs(create_in_memory_aws().client("dynamodb"))
    for number in range(100):
        status = JobStatus.SUCCEEDED
        if number % 10 == 0:
            status = JobStatus.FAILED if number % 20 else JobStatus.QUEUED
        reason = EndReason.NO_CREDIT if status is JobStatus.FAILED else None
        jobs.add(number, status, tenant=("acme", "globex")[number // 10 % 2], end_reason=reason)
    among_hundred = measure_reads(jobs)
    for number in range(100, 10_000):
        jobs.add(number, JobStatus.SUCCEEDED, tenant=("acme", "globex")[number // 10 % 2])

    assert measure_reads(jobs) == among_hundred
    assert max(items for _, items in among_hundred) <= 5
    assert max(queries for queries, _ in among_hundred) <= 8
    assert jobs.search.count().unfinished[JobStatus.QUEUED] == 5


def test_search_for_what_is_rare_ends_after_few_reads() -> None:
    jobs = Jobs(create_in_memory_aws().client("dynamodb"))
    for number in range(1_500):
        jobs.add(number, JobStatus.SUCCEEDED)

    page = jobs.search.search(JobFilter(model="acme/rare"), before_id=None, limit=50)

    assert page.jobs == ()
    assert page.next_before_id is not None
    assert jobs.requests["items"] == 62 + 9 * 100


@pytest.mark.parametrize(
    "criteria", [{"model": "acme/rare"}, {"metadata": {"order": "1"}, "batch_id": "none"}]
)
def test_search_in_the_failed_jobs_of_a_tenant_reads_few_of_them(criteria: dict[str, Any]) -> None:
    jobs = Jobs(create_in_memory_aws().client("dynamodb"))
    added = [jobs.add(number, JobStatus.FAILED, metadata={"order": "2"}) for number in range(1_100)]
    rare = jobs.add(1_100, JobStatus.FAILED, model="acme/rare", batch_id="none", metadata={"order": "1"})
    wanted = {"statuses": frozenset({JobStatus.FAILED}), "tenant": "acme", **criteria}

    page = jobs.search.search(JobFilter(**wanted), before_id=None, limit=50)

    assert jobs.requests["items"] == 1_010
    assert (page.jobs, page.next_before_id) == ((), added[1_009].id)
    assert jobs.find_all(**wanted) == [rare.id]


def test_jobs_are_found_by_metadata_and_batch(jobs: Jobs) -> None:
    first = jobs.add(1, metadata={"order": "42", "user": "7"}, batch_id="b1")
    second = jobs.add(2, tenant="globex", metadata={"order": "42"})
    jobs.add(3, metadata={"order": "4"}, batch_id="b2")

    assert jobs.find_all(metadata={"order": "42"}) == [first.id, second.id]
    assert jobs.find_all(metadata={"order": "42", "user": "7"}) == [first.id]
    assert jobs.find_all(metadata={"order": "42"}, tenant="globex") == [second.id]
    assert jobs.find_all(batch_id="b1") == [first.id]
    matches = jobs.search.list_matches(JobFilter(metadata={"order": "42"}), limit=10)
    assert [entry.id for entry in matches.entries] == [first.id, second.id]


def test_all_matches_are_listed_by_the_index_alone_where_it_says_enough(jobs: Jobs) -> None:
    failed = [jobs.add(number, JobStatus.FAILED, end_reason=EndReason.NO_CREDIT) for number in (1, 3)]
    canceled = jobs.add(2, JobStatus.CANCELED, end_reason=EndReason.REPORTED)
    queued = jobs.add(4)
    foreign = jobs.add(5, JobStatus.SUBMITTED, tenant="globex", model="acme/flux")
    succeeded = jobs.add(6, JobStatus.SUCCEEDED, model="acme/flux")

    def list_ids(**criteria: Any) -> list[str]:
        jobs.requests.clear()
        matches = jobs.search.list_matches(JobFilter(**criteria), limit=10)
        assert matches.is_complete
        return [entry.id for entry in matches.entries]

    ended = frozenset({JobStatus.FAILED, JobStatus.CANCELED})
    unfinished = frozenset({JobStatus.QUEUED, JobStatus.SUBMITTED})
    assert list_ids(statuses=ended) == [failed[0].id, canceled.id, failed[1].id]
    assert list_ids(statuses=ended, end_reason=EndReason.NO_CREDIT) == [job.id for job in failed]
    assert list_ids(statuses=unfinished) == [queued.id, foreign.id]
    assert list_ids(statuses=unfinished, tenant="globex") == [foreign.id]
    assert list_ids(statuses=unfinished, created_before=NOW - timedelta(minutes=4, seconds=30)) == [
        foreign.id
    ]
    assert jobs.requests["items"] == 0
    # Which jobs have succeeded is known by those that have not.
    assert list_ids(statuses=frozenset({JobStatus.SUCCEEDED})) == [succeeded.id]
    assert list_ids(statuses=frozenset({JobStatus.SUCCEEDED}), tenant="globex") == []
    succeeded_or_failed = frozenset({JobStatus.SUCCEEDED, JobStatus.FAILED})
    assert list_ids(statuses=succeeded_or_failed) == [failed[0].id, failed[1].id, succeeded.id]
    assert list_ids(statuses=TERMINAL_STATUSES) == [failed[0].id, canceled.id, failed[1].id, succeeded.id]
    assert list_ids(statuses=frozenset(JobStatus), tenant="globex") == [foreign.id]
    assert jobs.requests["items"] == 0
    # Others are read.
    assert list_ids(statuses=unfinished, model="acme/flux") == [foreign.id]
    assert list_ids(tenant="acme", created_after=NOW - timedelta(minutes=2, seconds=30)) == [
        failed[0].id,
        canceled.id,
    ]


def test_list_of_matches_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = Jobs(create_in_memory_aws().client("dynamodb"))
    for number in range(300):
        jobs.add(number, JobStatus.FAILED)
    failed = JobFilter(statuses=frozenset({JobStatus.FAILED}))

    limited = jobs.search.list_matches(failed, limit=250)
    assert (len(limited.entries), limited.is_complete) == (250, False)
    assert jobs.search.list_matches(failed, limit=300).is_complete

    # More jobs have not succeeded than are read to tell which ones have: the jobs themselves are read.
    jobs.add(301, JobStatus.SUCCEEDED)
    monkeypatch.setattr("replicate_proxy.operations.job_search._LIST_READ_SIZE", 100)
    succeeded = JobFilter(statuses=frozenset({JobStatus.SUCCEEDED}))
    for most in (300, 299):
        monkeypatch.setattr("replicate_proxy.operations.job_search._MAX_STATUSES", most)
        jobs.requests.clear()
        assert len(jobs.search.list_matches(succeeded, limit=10).entries) == 1
        assert jobs.requests["items"] == (0 if most == 300 else 301)

    monkeypatch.setattr("replicate_proxy.operations.job_search._MAX_LISTED_JOBS", 200)
    assert not jobs.search.list_matches(JobFilter(model="acme/rare"), limit=10).is_complete
    monkeypatch.setattr("replicate_proxy.operations.job_search._MAX_LISTED_ENTRIES", 200)
    assert not jobs.search.list_matches(replace(failed, tenant="globex"), limit=10).is_complete
