"""One fake for each port: in memory, with the same refusals as the real adapter (tests/contract says so)."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from replicate_proxy.aws.job_records import job_from_record, record_from_job
from replicate_proxy.errors import ConflictError, NotFoundError, RetryableError
from replicate_proxy.jobs.model import Document, Job
from replicate_proxy.ports import DueJob, IdempotencyRecord, JobPage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from replicate_proxy.contracts.commands import DispatchCommand
    from replicate_proxy.contracts.events import Event
    from replicate_proxy.jobs.model import Batch


@dataclass
class Faults:
    """Fails the next call of a name as often as told: `faults.fail("send", 2)`."""

    planned: dict[str, list[Exception]] = field(default_factory=dict)

    def fail(self, name: str, times: int = 1, error: Exception | None = None) -> None:
        self.planned.setdefault(name, []).extend([error or RetryableError(f"{name} failed")] * times)

    def raise_planned(self, name: str) -> None:
        if self.planned.get(name):
            raise self.planned[name].pop(0)


class FakeJobStore:
    """Jobs by tenant and id; each passes through its stored form, so that it loses what the table loses."""

    def __init__(self) -> None:
        self.jobs: dict[tuple[str, str], Job] = {}
        self.owners: dict[str, str] = {}
        self.faults = Faults()
        self.before_save: Callable[[Job], None] = lambda _: None
        self._lock = threading.Lock()

    def create(self, job: Job) -> None:
        self.faults.raise_planned("create")
        with self._lock:
            if (job.tenant, job.id) in self.jobs:
                raise ConflictError("create job")
            self.jobs[job.tenant, job.id] = _stored(replace(job, revision=1))
        self.faults.raise_planned("create_answer")

    def get(self, tenant: str, job_id: str, *, consistent: bool = True) -> Job | None:
        self.faults.raise_planned("get")
        return self.jobs.get((tenant, job_id))

    def save(self, job: Job) -> Job:
        self.faults.raise_planned("save")
        self.before_save(job)
        with self._lock:
            there = self.jobs.get((job.tenant, job.id))
            if there is None or there.revision != job.revision:
                raise ConflictError("save job")
            saved = replace(job, revision=job.revision + 1)
            self.jobs[job.tenant, job.id] = _stored(saved)
        return saved

    def list_jobs(self, tenant: str, *, before_id: str | None, min_id: str | None, limit: int) -> JobPage:
        ids = sorted(
            (
                job_id
                for owner, job_id in self.jobs
                if owner == tenant and job_id < (before_id or "~") and job_id >= (min_id or "0")
            ),
            reverse=True,
        )
        jobs = tuple(self.jobs[tenant, job_id] for job_id in ids[:limit])
        return JobPage(jobs=jobs, next_before_id=ids[limit - 1] if len(ids) > limit else None)

    def list_due_jobs(self, *, before: datetime, limit: int) -> Sequence[DueJob]:
        self.faults.raise_planned("due")
        with self._lock:
            jobs = list(self.jobs.values())
        rows = [
            DueJob(job.tenant, job.id, job.next_check_at)
            for job in jobs
            if job.next_check_at is not None and job.next_check_at <= before
        ]
        return sorted(rows, key=lambda row: row.next_check_at)[:limit]

    def claim_prediction(self, replicate_id: str, tenant: str, job_id: str) -> bool:
        self.faults.raise_planned("own")
        with self._lock:
            return self.owners.setdefault(replicate_id, job_id) == job_id

    def get_prediction_owner(self, replicate_id: str) -> str | None:
        return self.owners.get(replicate_id)

    def put(self, job: Job) -> Job:
        """Sets a test's stage: the job as it is, whatever was there."""
        self.jobs[job.tenant, job.id] = job
        return job

    def only_job(self) -> Job:
        (job,) = self.jobs.values()
        return job


class FakeBatchStore:
    """Batches beside a FakeJobStore's jobs; all or nothing."""

    def __init__(self, jobs: FakeJobStore) -> None:
        self.batches: dict[tuple[str, str], Batch] = {}
        self.faults = Faults()
        self._jobs = jobs

    def create(self, batch: Batch, jobs: Sequence[Job]) -> None:
        self.faults.raise_planned("create")
        taken = any((job.tenant, job.id) in self._jobs.jobs for job in jobs)
        if taken or (batch.tenant, batch.id) in self.batches:
            raise ConflictError("create batch")
        self.batches[batch.tenant, batch.id] = batch
        for job in jobs:
            self._jobs.create(job)
        self.faults.raise_planned("create_answer")

    def get(self, tenant: str, batch_id: str) -> Batch | None:
        return self.batches.get((tenant, batch_id))

    def list_jobs(self, batch: Batch) -> Sequence[Job]:
        kept = (self._jobs.jobs.get((batch.tenant, job_id)) for job_id in batch.job_ids)
        return [job for job in kept if job is not None]


def _stored(job: Job) -> Job:
    return job_from_record({name: value for name, value in record_from_job(job).items() if value is not None})


class FakeIdempotencyStore:
    """Keys for a day."""

    def __init__(self) -> None:
        self.held: dict[tuple[str, str], tuple[IdempotencyRecord, datetime]] = {}

    def claim(self, record: IdempotencyRecord, *, now: datetime) -> IdempotencyRecord:
        there = self.held.get((record.tenant, record.key))
        if there is not None and there[1] > now:
            return there[0]
        self.held[record.tenant, record.key] = (record, now + timedelta(hours=24))
        return record


class FakeDocumentStore:
    """Inline up to `inline_bytes`, else under a key; also the ObjectStore of claim checks."""

    def __init__(self, inline_bytes: int = 4096) -> None:
        self.objects: dict[str, bytes] = {}
        self.inline_bytes = inline_bytes
        self.faults = Faults()

    def save(self, tenant: str, job_id: str, name: str, value: Any) -> Document:
        self.faults.raise_planned("keep")
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        if len(text.encode("utf-8", "surrogatepass")) <= self.inline_bytes:
            return Document(text=text)
        return Document(object_key=self.put(f"records/{tenant}/{job_id}/{name}.json", text.encode()))

    def put(self, key: str, body: bytes) -> str:
        self.faults.raise_planned("put")
        self.objects[key] = body
        return key

    def load(self, document: Document | None) -> Any:
        if document is None:
            return None
        if document.object_key is None:
            return json.loads(document.text or "null")
        return json.loads(self.read(document.object_key))

    def read(self, key: str) -> bytes:
        self.faults.raise_planned("read")
        if key not in self.objects:
            raise NotFoundError("the stored document is gone")
        return self.objects[key]


class FakeCommandQueue:
    """The dispatch queue; `sent` are the messages with their delays."""

    def __init__(self) -> None:
        self.sent: list[tuple[DispatchCommand, float]] = []
        self.faults = Faults()

    def send(self, command: DispatchCommand, *, delay_seconds: float = 0) -> None:
        self.faults.raise_planned("send")
        self.sent.append((command, delay_seconds))

    @property
    def commands(self) -> list[DispatchCommand]:
        return [command for command, _ in self.sent]


class FakeEventBus:
    """The service's bus."""

    def __init__(self) -> None:
        self.published: list[Event] = []
        self.faults = Faults()

    def publish(self, events: Sequence[Event]) -> None:
        self.faults.raise_planned("publish")
        self.published += events

    def queue_bodies(self) -> list[str]:
        """The published events as a rule puts them on a queue."""
        return [build_queue_body(event) for event in self.published]


class FakeHarvestQueue:
    """The harvest queue, for further rounds."""

    def __init__(self) -> None:
        self.sent: list[tuple[Event, float]] = []
        self.faults = Faults()

    def send(self, event: Event, *, tenant: str, delay_seconds: float = 0) -> None:
        self.faults.raise_planned("send")
        self.sent.append((event, delay_seconds))


def build_queue_body(event: Event) -> str:
    return json.dumps(
        {
            "detail-type": event.name.value,
            "source": event.source.value,
            "detail": json.loads(event.to_detail()),
        }
    )
