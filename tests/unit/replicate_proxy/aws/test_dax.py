"""Reads through DAX, against a client that answers late, wrongly, with old items, or not at all."""

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
from tests.support.fakes import FakeJobStore

if TYPE_CHECKING:
    from collections.abc import Callable

STALE = timedelta(seconds=1)
ID = "01kdnx7q2w3e4r5t6y7v8b9n0m"


@dataclass
class FakeDax:
    """Items by key, as low-level clients give them; `breaks` is raised, `hangs` is waited for."""

    items: dict[str, dict[str, Any]] = field(default_factory=dict)
    breaks: Exception | None = None
    hangs: threading.Event | None = None
    asked: int = 0

    def holds(self, job: Job) -> None:
        self.items[job_key(job.tenant, job.id)["pk"]] = to_item(record_from_job(job))

    def get_item(self, *, TableName: str, Key: dict[str, Any]) -> dict[str, Any]:  # noqa: N803 - boto's names
        self.asked += 1
        if self.hangs is not None:
            self.hangs.wait(60)
        if self.breaks is not None:
            raise self.breaks
        item = self.items.get(from_item(Key)["pk"])
        return {"Item": item} if item else {}


@pytest.fixture
def fallbacks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    seen: list[str] = []
    monkeypatch.setattr(query, "count", lambda metric: seen.append(metric.value))
    return seen


def reader(
    dax: FakeDax, table: FakeJobStore, clock: FakeClock, connect: Callable[[], Any] | None = None
) -> CachedJobReader:
    return CachedJobReader(table, DaxJobCache(connect or (lambda: dax), "jobs"), clock, max_staleness=STALE)


def job(status: JobStatus, seconds: float = 0, **fields: Any) -> Job:
    """The job as written `seconds` after NOW."""
    timeline = {TimelineStep.ACCEPTED: NOW, TimelineStep.CLAIMED: NOW + timedelta(seconds=seconds)}
    return make_job(status, id=ID, timeline=timeline, **fields)


@pytest.mark.parametrize("status", sorted(TERMINAL_STATUSES))
def test_a_finished_job_comes_from_the_cache_whatever_its_age(
    status: JobStatus, fallbacks: list[str]
) -> None:
    dax, clock = FakeDax(), FakeClock(NOW + timedelta(days=3))
    dax.holds(job(status))

    found = reader(dax, FakeJobStore(), clock).get(TENANT, ID)  # the table holds nothing: it was not asked

    assert found is not None
    assert found.status is status
    assert fallbacks == []


def test_an_unfinished_job_is_not_shown_older_than_allowed(fallbacks: list[str]) -> None:
    dax, table, clock = FakeDax(), FakeJobStore(), FakeClock()
    dax.holds(job(JobStatus.SUBMITTED))
    table.create(job(JobStatus.SUCCEEDED))
    jobs = reader(dax, table, clock)

    fresh = jobs.get(TENANT, ID)
    clock.advance(STALE.total_seconds() + 0.001)
    later = jobs.get(TENANT, ID)

    assert fresh is not None
    assert fresh.status is JobStatus.SUBMITTED
    assert later is not None
    assert later.status is JobStatus.SUCCEEDED
    assert fallbacks == []  # the cache worked; it just could not be believed


def test_a_record_from_the_future_is_not_believed() -> None:
    dax, table, clock = FakeDax(), FakeJobStore(), FakeClock()
    dax.holds(job(JobStatus.QUEUED, seconds=30))
    table.create(job(JobStatus.FAILED))

    found = reader(dax, table, clock).get(TENANT, ID)

    assert found is not None
    assert found.status is JobStatus.FAILED


def test_what_the_cache_does_not_know_is_looked_up() -> None:
    table = FakeJobStore()
    table.create(job(JobStatus.QUEUED))
    jobs = reader(FakeDax(), table, FakeClock())

    assert jobs.get(TENANT, ID) is not None
    assert jobs.get("globex", ID) is None


@pytest.mark.parametrize(
    "error", [ConnectionResetError(), TimeoutError(), RuntimeError("no routes"), KeyError("codes")], ids=repr
)
def test_any_failure_falls_back_and_is_counted(error: Exception, fallbacks: list[str]) -> None:
    table = FakeJobStore()
    table.create(job(JobStatus.QUEUED))

    assert reader(FakeDax(breaks=error), table, FakeClock()).get(TENANT, ID) is not None
    assert fallbacks == ["CacheUnavailable"]


def test_an_item_that_is_no_job_falls_back(fallbacks: list[str]) -> None:
    dax, table = FakeDax(), FakeJobStore()
    dax.items[job_key(TENANT, ID)["pk"]] = to_item({"pk": "x"})
    table.create(job(JobStatus.QUEUED))

    assert reader(dax, table, FakeClock()).get(TENANT, ID) is not None
    assert fallbacks == ["CacheUnavailable"]


@pytest.mark.parametrize("where", ["connecting", "reading"])
def test_a_cache_that_hangs_costs_a_fifth_of_a_second_once(where: str, fallbacks: list[str]) -> None:
    never = threading.Event()
    dax, table = FakeDax(hangs=never if where == "reading" else None), FakeJobStore()
    table.create(job(JobStatus.QUEUED))

    def connect() -> FakeDax:
        if where == "connecting":
            never.wait(60)
        return dax

    jobs = reader(dax, table, FakeClock(), connect)
    try:
        began = time.monotonic()
        first = jobs.get(TENANT, ID)
        taken = time.monotonic() - began
        again = [jobs.get(TENANT, ID) for _ in range(100)]
        all_taken = time.monotonic() - began
    finally:
        never.set()

    assert first is not None
    assert all(again)
    assert 0.19 < taken < 10  # 0.2 s, and much for a busy machine
    assert all_taken < taken + 10  # a hundred waits would be twenty seconds
    assert fallbacks == ["CacheUnavailable"] * 101


def test_after_a_pause_the_cache_is_asked_again() -> None:
    now = [0.0]
    dax = FakeDax(breaks=ConnectionResetError())
    dax.holds(job(JobStatus.SUCCEEDED))
    cache = DaxJobCache(lambda: dax, "jobs", retry_after_seconds=5, monotonic=lambda: now[0])
    for _ in range(3):
        with pytest.raises(RetryableError):
            cache.get(TENANT, ID)
    assert dax.asked == 1

    dax.breaks, now[0] = None, 5.0

    found = cache.get(TENANT, ID)
    assert found is not None
    assert found.id == ID


def test_a_failed_connection_is_made_again() -> None:
    now, dax, tries = [0.0], FakeDax(), []
    dax.holds(job(JobStatus.SUCCEEDED))

    def connect() -> FakeDax:
        tries.append(1)
        if len(tries) == 1:
            raise OSError("no cluster")
        return dax

    cache = DaxJobCache(connect, "jobs", monotonic=lambda: now[0])
    with pytest.raises(RetryableError):
        cache.get(TENANT, ID)
    now[0] = 10.0
    assert cache.get(TENANT, ID) is not None


def test_pages_come_from_the_table() -> None:
    dax, table = FakeDax(breaks=AssertionError("asked")), FakeJobStore()
    table.create(job(JobStatus.QUEUED))

    page = reader(dax, table, FakeClock()).list_jobs(TENANT, before_id=None, min_id=None, limit=10)

    assert [one.id for one in page.jobs] == [ID]
    assert dax.asked == 0


_LIFE = (
    JobStatus.QUEUED,
    JobStatus.SUBMITTING,
    JobStatus.SUBMITTED,
    JobStatus.PROCESSING,
    JobStatus.SUCCEEDED,
)


@given(
    gaps=st.lists(st.integers(0, 3000), min_size=len(_LIFE), max_size=len(_LIFE)),
    cached=st.integers(0, len(_LIFE) - 1),
    read_at=st.integers(0, 20_000),
)
def test_whatever_is_cached_and_whenever_it_is_read(gaps: list[int], cached: int, read_at: int) -> None:
    """What is shown was the truth at most STALE ago, or is the end of the job. Times in milliseconds."""
    hops = list(TimelineStep)
    times = [sum(gaps[: step + 1]) for step in range(len(_LIFE))]
    written: list[Job] = []
    for step, status in enumerate(_LIFE):
        stamps = {hops[at]: NOW + timedelta(milliseconds=times[at]) for at in range(step + 1)}
        written.append(make_job(status, id=ID, timeline=stamps))
    passed = max(read_at, times[cached])
    clock = FakeClock(NOW + timedelta(milliseconds=passed))
    truth = max(step for step in range(len(_LIFE)) if times[step] <= passed)
    dax, table = FakeDax(), FakeJobStore()
    dax.holds(written[cached])
    table.create(replace(written[truth]))

    found = reader(dax, table, clock).get(TENANT, ID)

    assert found is not None
    shown = _LIFE.index(found.status)
    replaced_at = times[shown + 1] if shown < truth else passed
    assert passed - replaced_at <= STALE / timedelta(milliseconds=1)


@pytest.mark.parametrize(("endpoint", "loaded"), [("", False), ("daxs://jobs.example:9111", True)])
def test_the_library_of_dax_is_imported_where_it_is_used(endpoint: str, *, loaded: bool) -> None:
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
        "DAX_ENDPOINT": endpoint,
        "POWERTOOLS_SERVICE_NAME": "query",
        "POWERTOOLS_METRICS_NAMESPACE": "test",
    }
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    # Even then not before the first read, and then beside it.
    assert done.stdout.split() == [str(loaded), "False"]
