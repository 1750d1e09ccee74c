"""Reads of jobs through DAX, with a client that is slow, fails, or returns old items."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_proxy.aws.dax import DaxJobCache
from replicate_proxy.aws.dynamodb import from_item, to_item
from replicate_proxy.aws.job_records import job_key, record_from_job
from replicate_proxy.errors import RetryableError
from replicate_proxy.jobs.model import TERMINAL_STATUSES, Job, JobStatus, TimelineStep
from replicate_proxy.services import query
from replicate_proxy.services.query import CachedJobReader
from tests.support.builders import TENANT, make_job
from tests.support.clock import NOW, FakeClock
from tests.support.job_stores import InMemoryJobStore

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_STALENESS = timedelta(seconds=1)
ID = "01kdnx7q2w3e4r5t6y7v8b9n0m"


@dataclass
class FakeDax:
    """A DAX client. Reads raise `error`, or wait for `blocker`."""

    items: dict[str, dict[str, Any]] = field(default_factory=dict)
    error: Exception | None = None
    blocker: threading.Event | None = None
    reads: int = 0

    def connect(self) -> Any:
        return self

    def put(self, job: Job) -> None:
        self.items[job_key(job.tenant, job.id)["pk"]] = to_item(record_from_job(job))

    def get_item(self, *, TableName: str, Key: dict[str, Any]) -> dict[str, Any]:  # noqa: N803 - boto's names
        self.reads += 1
        if self.blocker is not None:
            self.blocker.wait(60)
        if self.error is not None:
            raise self.error
        item = self.items.get(from_item(Key)["pk"])
        return {"Item": item} if item else {}


@pytest.fixture
def counted_metrics(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    counted: list[str] = []
    monkeypatch.setattr(query, "count", lambda metric: counted.append(metric.value))
    return counted


def build_reader(
    dax: FakeDax, table: InMemoryJobStore, clock: FakeClock, connect: Callable[[], Any] | None = None
) -> CachedJobReader:
    return CachedJobReader(
        table, DaxJobCache(connect or dax.connect, "jobs"), clock, max_staleness=MAX_STALENESS
    )


def build_job(status: JobStatus, seconds: float = 0, **fields: Any) -> Job:
    """Return the job as saved `seconds` after NOW."""
    timeline = {TimelineStep.ACCEPTED: NOW, TimelineStep.CLAIMED: NOW + timedelta(seconds=seconds)}
    return make_job(status, id=ID, timeline=timeline, **fields)


@pytest.mark.parametrize("status", sorted(TERMINAL_STATUSES))
def test_terminal_job_is_read_from_cache_at_any_age(status: JobStatus, counted_metrics: list[str]) -> None:
    dax, clock = FakeDax(), FakeClock(NOW + timedelta(days=3))
    dax.put(build_job(status))

    job = build_reader(dax, InMemoryJobStore(), clock).get(TENANT, ID)  # the table is empty

    assert job is not None
    assert job.status is status
    assert counted_metrics == []


def test_active_job_is_read_from_table_when_cached_item_is_stale(counted_metrics: list[str]) -> None:
    dax, table, clock = FakeDax(), InMemoryJobStore(), FakeClock()
    dax.put(build_job(JobStatus.SUBMITTED))
    table.create(build_job(JobStatus.SUCCEEDED))
    jobs = build_reader(dax, table, clock)

    fresh = jobs.get(TENANT, ID)
    clock.advance(MAX_STALENESS.total_seconds() + 0.001)
    later = jobs.get(TENANT, ID)

    assert fresh is not None
    assert fresh.status is JobStatus.SUBMITTED
    assert later is not None
    assert later.status is JobStatus.SUCCEEDED
    assert counted_metrics == []  # the cache worked; its item was too old


def test_item_with_a_future_time_is_not_used() -> None:
    dax, table, clock = FakeDax(), InMemoryJobStore(), FakeClock()
    dax.put(build_job(JobStatus.QUEUED, seconds=30))
    table.create(build_job(JobStatus.FAILED))

    job = build_reader(dax, table, clock).get(TENANT, ID)

    assert job is not None
    assert job.status is JobStatus.FAILED


def test_job_missing_in_cache_is_read_from_table() -> None:
    table = InMemoryJobStore()
    table.create(build_job(JobStatus.QUEUED))
    jobs = build_reader(FakeDax(), table, FakeClock())

    assert jobs.get(TENANT, ID) is not None
    assert jobs.get("globex", ID) is None


@pytest.mark.parametrize(
    "error", [ConnectionResetError(), TimeoutError(), RuntimeError("no routes"), KeyError("codes")], ids=repr
)
def test_cache_error_is_counted_and_table_is_read(error: Exception, counted_metrics: list[str]) -> None:
    table = InMemoryJobStore()
    table.create(build_job(JobStatus.QUEUED))

    assert build_reader(FakeDax(error=error), table, FakeClock()).get(TENANT, ID) is not None
    assert counted_metrics == ["CacheUnavailable"]


def test_malformed_item_is_counted_and_table_is_read(counted_metrics: list[str]) -> None:
    dax, table = FakeDax(), InMemoryJobStore()
    dax.items[job_key(TENANT, ID)["pk"]] = to_item({"pk": "x"})
    table.create(build_job(JobStatus.QUEUED))

    assert build_reader(dax, table, FakeClock()).get(TENANT, ID) is not None
    assert counted_metrics == ["CacheUnavailable"]


@pytest.mark.parametrize("operation", ["connect", "read"])
def test_hanging_cache_delays_one_read_only(operation: str, counted_metrics: list[str]) -> None:
    blocker = threading.Event()
    dax, table = FakeDax(blocker=blocker if operation == "read" else None), InMemoryJobStore()
    table.create(build_job(JobStatus.QUEUED))

    def connect() -> Any:
        if operation == "connect":
            blocker.wait(60)
        return dax

    jobs = build_reader(dax, table, FakeClock(), connect)
    try:
        start = time.monotonic()
        first = jobs.get(TENANT, ID)
        first_seconds = time.monotonic() - start
        later = [jobs.get(TENANT, ID) for _ in range(100)]
        all_seconds = time.monotonic() - start
    finally:
        blocker.set()

    assert first is not None
    assert all(later)
    assert 0.19 < first_seconds < 10  # the timeout is 0.2 s; a busy machine takes longer
    assert all_seconds < first_seconds + 10  # a hundred timeouts would take 20 s
    assert counted_metrics == ["CacheUnavailable"] * 101


def test_cache_is_read_again_after_pause() -> None:
    clock, dax = FakeClock(), FakeDax(error=ConnectionResetError())
    dax.put(build_job(JobStatus.SUCCEEDED))
    cache = DaxJobCache(dax.connect, "jobs", retry_after_seconds=5, monotonic=clock.monotonic)
    for _ in range(3):
        with pytest.raises(RetryableError):
            cache.get(TENANT, ID)
    assert dax.reads == 1

    dax.error = None
    clock.advance(5)

    job = cache.get(TENANT, ID)
    assert job is not None
    assert job.id == ID


def test_failed_connection_is_retried_after_pause() -> None:
    clock, dax, attempts = FakeClock(), FakeDax(), []
    dax.put(build_job(JobStatus.SUCCEEDED))

    def connect() -> Any:
        attempts.append(1)
        if len(attempts) == 1:
            raise OSError("no cluster")
        return dax

    cache = DaxJobCache(connect, "jobs", monotonic=clock.monotonic)
    with pytest.raises(RetryableError):
        cache.get(TENANT, ID)
    clock.advance(10)
    assert cache.get(TENANT, ID) is not None


def test_pages_are_read_from_table() -> None:
    dax, table = FakeDax(error=AssertionError("read")), InMemoryJobStore()
    table.create(build_job(JobStatus.QUEUED))

    page = build_reader(dax, table, FakeClock()).list_jobs(TENANT, before_id=None, min_id=None, limit=10)

    assert [job.id for job in page.jobs] == [ID]
    assert dax.reads == 0


_STATUSES = (
    JobStatus.QUEUED,
    JobStatus.SUBMITTING,
    JobStatus.SUBMITTED,
    JobStatus.PROCESSING,
    JobStatus.SUCCEEDED,
)


@given(
    gaps=st.lists(st.integers(0, 3000), min_size=len(_STATUSES), max_size=len(_STATUSES)),
    cached=st.integers(0, len(_STATUSES) - 1),
    read_at=st.integers(0, 20_000),
)
def test_job_is_never_older_than_allowed(gaps: list[int], cached: int, read_at: int) -> None:
    """The returned status was current at most MAX_STALENESS ago, or is terminal. Times in milliseconds."""
    steps = list(TimelineStep)
    times = [sum(gaps[: step + 1]) for step in range(len(_STATUSES))]
    saved: list[Job] = []
    for step, status in enumerate(_STATUSES):
        timeline = {steps[index]: NOW + timedelta(milliseconds=times[index]) for index in range(step + 1)}
        saved.append(make_job(status, id=ID, timeline=timeline))
    now = max(read_at, times[cached])
    clock = FakeClock(NOW + timedelta(milliseconds=now))
    current = max(step for step in range(len(_STATUSES)) if times[step] <= now)
    dax, table = FakeDax(), InMemoryJobStore()
    dax.put(saved[cached])
    table.create(replace(saved[current]))

    job = build_reader(dax, table, clock).get(TENANT, ID)

    assert job is not None
    returned = _STATUSES.index(job.status)
    replaced_at = times[returned + 1] if returned < current else now
    assert now - replaced_at <= MAX_STALENESS / timedelta(milliseconds=1)


@pytest.mark.parametrize(("endpoint", "loaded"), [("", False), ("daxs://jobs.example:9111", True)])
def test_dax_module_is_imported_only_if_there_is_an_endpoint(endpoint: str, *, loaded: bool) -> None:
    root = Path(__file__).parents[4]
    program = (
        "import sys, replicate_proxy.bootstrap.query as query; query.build_router();"
        "print('replicate_proxy.bootstrap.dax' in sys.modules, 'amazondax' in sys.modules)"
    )
    environment = {
        "PYTHONPATH": str(root / "layers/common/python"),
        "AWS_DEFAULT_REGION": "eu-central-1",
        "REPLICATE_PROXY_TABLE": "jobs",
        "IMAGES_BUCKET": "images",
        "CONTROL_TABLE": "control",
        "USAGE_TABLE": "usage",
        "DISPATCH_QUEUE_URL": "https://sqs.eu-central-1.amazonaws.com/111122223333/dispatch",
        "DAX_ENDPOINT": endpoint,
        "POWERTOOLS_SERVICE_NAME": "query",
        "POWERTOOLS_METRICS_NAMESPACE": "test",
    }
    process = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    # The library itself is imported with the first read only.
    assert process.stdout.split() == [str(loaded), "False"]
