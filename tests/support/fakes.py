"""In-memory fakes of the ports; tests/contract checks that they behave like the real adapters."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from replicate_proxy.aws.job_records import job_from_record, record_from_job
from replicate_proxy.errors import ConflictError, NotFoundError, PermanentError, RetryableError
from replicate_proxy.jobs.model import Document, Job
from replicate_proxy.ports import DueJob, IdempotencyRecord, JobPage, PredictionClaim, PredictionOwner

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from replicate_proxy.contracts.commands import DispatchCommand
    from replicate_proxy.contracts.events import Event
    from replicate_proxy.deletion.model import Deletion
    from replicate_proxy.jobs.model import Batch

# Amazon DynamoDB, quotas.
MAX_ITEM_BYTES = 400 * 1024


@dataclass
class Faults:
    """Errors that the next calls of a method raise: `faults.fail("send", times=2)`."""

    planned: dict[str, list[Exception]] = field(default_factory=dict)

    def fail(self, name: str, times: int = 1, error: Exception | None = None) -> None:
        self.planned.setdefault(name, []).extend([error or RetryableError(f"{name} failed")] * times)

    def raise_planned(self, name: str) -> None:
        if self.planned.get(name):
            raise self.planned[name].pop(0)


class FakeJobStore:
    """Jobs by tenant and ID, each converted to its record and back, so that it loses what the table loses.

    The planned fault "create" is raised before the job is stored, "create_response" after.
    """

    def __init__(self) -> None:
        self.jobs: dict[tuple[str, str], Job] = {}
        self.owners: dict[str, PredictionOwner] = {}
        self.deletions: dict[tuple[str, str], Deletion] = {}
        self.faults = Faults()
        self.before_save: Callable[[Job], None] = lambda _: None
        self._lock = threading.Lock()

    def create(self, job: Job) -> None:
        self.faults.raise_planned("create")
        with self._lock:
            if (job.tenant, job.id) in self.jobs.keys() | self.deletions.keys():
                raise ConflictError("create job")
            self.jobs[job.tenant, job.id] = _convert_to_record_and_back(replace(job, revision=1))
        self.faults.raise_planned("create_response")

    def get(self, tenant: str, job_id: str, *, consistent: bool = True) -> Job | None:
        self.faults.raise_planned("get")
        return self.jobs.get((tenant, job_id))

    def is_deleted(self, tenant: str, job_id: str) -> bool:
        return (tenant, job_id) in self.deletions

    def save(self, job: Job) -> Job:
        self.faults.raise_planned("save")
        self.before_save(job)
        with self._lock:
            stored = self.jobs.get((job.tenant, job.id))
            if stored is None or stored.revision != job.revision:
                raise ConflictError("save job")
            saved = replace(job, revision=job.revision + 1)
            self.jobs[job.tenant, job.id] = _convert_to_record_and_back(saved)
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

    def get_many(self, tenant: str, job_ids: Sequence[str], *, consistent: bool = False) -> dict[str, Job]:
        found = {job_id: self.jobs.get((tenant, job_id)) for job_id in job_ids}
        return {job_id: job for job_id, job in found.items() if job is not None}

    def list_newer_jobs(self, tenant: str, *, after_id: str, before_id: str | None, limit: int) -> JobPage:
        ids = sorted(
            job_id
            for owner, job_id in self.jobs
            if owner == tenant and after_id < job_id < (before_id or "~")
        )
        listed = ids[:limit][::-1]
        return JobPage(
            tuple(self.jobs[tenant, job_id] for job_id in listed),
            next_before_id=listed[-1] if listed else None,
            previous_after_id=listed[0] if len(ids) > limit else None,
        )

    def list_due_jobs(self, *, before: datetime, limit: int, requires_all: bool = False) -> Sequence[DueJob]:
        if requires_all:
            self.faults.raise_planned("list_all_due_jobs")
        self.faults.raise_planned("list_due_jobs")
        with self._lock:
            jobs = list(self.jobs.values())
        due_jobs = [
            DueJob(job.tenant, job.id, job.next_check_at)
            for job in jobs
            if job.next_check_at is not None and job.next_check_at <= before
        ]
        return sorted(due_jobs, key=lambda due_job: due_job.next_check_at)[:limit]

    def claim_prediction(self, replicate_id: str, tenant: str, job_id: str, *, now: datetime) -> bool:
        self.faults.raise_planned("claim_prediction")
        with self._lock:
            owner = self.owners.get(replicate_id)
            if owner is not None and (owner.tenant, owner.job_id) != (tenant, job_id):
                return False
            self.owners[replicate_id] = PredictionOwner(tenant, job_id, PredictionClaim.CERTAIN)
            return True

    def adopt_prediction(self, job: Job, *, now: datetime) -> Job:
        name = job.account.qualify(job.replicate_id or "")
        if name in self.owners:
            raise ConflictError("adopt prediction")
        saved = self.save(job)
        owner = PredictionOwner(job.tenant, job.id, PredictionClaim.ADOPTED)
        self.owners[name] = owner
        return saved

    def get_prediction_owner(self, replicate_id: str) -> PredictionOwner | None:
        return self.owners.get(replicate_id)

    def dispute_prediction(self, replicate_id: str, tenant: str, job_id: str, *, now: datetime) -> None:
        self.owners.setdefault(replicate_id, PredictionOwner(tenant, job_id, PredictionClaim.DISPUTED))

    def release_prediction(self, replicate_id: str, owner: PredictionOwner) -> None:
        if self.owners.get(replicate_id) == owner:
            del self.owners[replicate_id]

    def put(self, job: Job) -> Job:
        """Store the job as it is, whatever was stored before."""
        self.jobs[job.tenant, job.id] = job
        return job

    def only_job(self) -> Job:
        (job,) = self.jobs.values()
        return job


class FakeDeletionStore:
    """Deletions, in place of the jobs of a FakeJobStore."""

    def __init__(self, jobs: FakeJobStore) -> None:
        self._jobs = jobs
        self.faults = Faults()

    def mark(self, job: Job, deletion: Deletion) -> None:
        self.faults.raise_planned("mark")
        stored = self._jobs.jobs.get((job.tenant, job.id))
        if stored is None or stored.revision != job.revision:
            raise ConflictError("mark job as deleted")
        del self._jobs.jobs[job.tenant, job.id]
        self._jobs.deletions[job.tenant, job.id] = deletion

    def get(self, tenant: str, job_id: str) -> Job | Deletion | None:
        return self._jobs.jobs.get((tenant, job_id)) or self._jobs.deletions.get((tenant, job_id))

    def list_due(self, *, before: datetime, limit: int) -> Sequence[DueJob]:
        due = [
            DueJob(deletion.tenant, deletion.id, deletion.next_pass_at)
            for deletion in self._jobs.deletions.values()
        ]
        due += [
            DueJob(job.tenant, job.id, job.delete_at)
            for job in self._jobs.jobs.values()
            if job.is_terminal and job.delete_at is not None
        ]
        due = [row for row in due if row.next_check_at <= before]
        return sorted(due, key=lambda row: row.next_check_at)[:limit]

    def postpone(self, deletion: Deletion, until: datetime) -> None:
        self._jobs.deletions[deletion.tenant, deletion.id] = replace(deletion, next_pass_at=until)

    def remove(self, deletion: Deletion) -> None:
        for name in deletion.predictions:
            owner = self._jobs.owners.get(name)
            if owner is not None and (owner.tenant, owner.job_id) == (deletion.tenant, deletion.id):
                del self._jobs.owners[name]
        self._jobs.deletions.pop((deletion.tenant, deletion.id), None)


class FakeBatchStore:
    """Batches, whose jobs are in a FakeJobStore."""

    def __init__(self, job_store: FakeJobStore) -> None:
        self.batches: dict[tuple[str, str], Batch] = {}
        self.faults = Faults()
        self._job_store = job_store

    def create(self, batch: Batch, jobs: Sequence[Job]) -> None:
        self.faults.raise_planned("create")
        job_exists = any((job.tenant, job.id) in self._job_store.jobs for job in jobs)
        if job_exists or (batch.tenant, batch.id) in self.batches:
            raise ConflictError("create batch")
        self.batches[batch.tenant, batch.id] = batch
        for job in jobs:
            self._job_store.create(job)
        self.faults.raise_planned("create_response")

    def get(self, tenant: str, batch_id: str) -> Batch | None:
        return self.batches.get((tenant, batch_id))

    def list_batches(self, tenant: str | None, *, before_id: str | None, limit: int) -> Sequence[Batch]:
        found = [batch for (owner, _), batch in self.batches.items() if tenant in (None, owner)]
        newest = sorted(found, key=lambda batch: batch.id, reverse=True)
        return [batch for batch in newest if before_id is None or batch.id < before_id][:limit]

    def list_jobs(self, batch: Batch) -> Sequence[Job]:
        jobs = (self._job_store.jobs.get((batch.tenant, job_id)) for job_id in batch.job_ids)
        return [job for job in jobs if job is not None]


def _convert_to_record_and_back(job: Job) -> Job:
    """Return the job as the table would. Raises PermanentError if its item is too large for DynamoDB."""
    record = {name: value for name, value in record_from_job(job).items() if value is not None}
    if len(json.dumps(record, ensure_ascii=False).encode()) > MAX_ITEM_BYTES:
        raise PermanentError("cannot save job: ValidationException")
    return job_from_record(record)


class FakeIdempotencyStore:
    """Idempotency keys, each with its record and the end of its day."""

    def __init__(self) -> None:
        self._claims: dict[tuple[str, str], tuple[IdempotencyRecord, datetime]] = {}

    def claim(self, record: IdempotencyRecord, *, now: datetime) -> IdempotencyRecord:
        holder, expires_at = self._claims.get((record.tenant, record.key), (record, now))
        if expires_at > now:
            return holder
        self._claims[record.tenant, record.key] = (record, now + timedelta(hours=24))
        return record

    def find(self, tenant: str, key: str, *, now: datetime) -> IdempotencyRecord | None:
        record, expires_at = self._claims.get((tenant, key), (None, now))
        return record if expires_at > now else None


class FakeDocumentStore:
    """Documents, inline up to `max_inline_bytes`; also the store of offloaded reports.

    `read_count` counts the reads of objects.
    """

    def __init__(self, max_inline_bytes: int = 4096) -> None:
        self.objects: dict[str, bytes] = {}
        self.max_inline_bytes = max_inline_bytes
        self.read_count = 0
        self.faults = Faults()

    def save(self, tenant: str, job_id: str, name: str, value: Any) -> Document:
        self.faults.raise_planned("save")
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        if len(text.encode("utf-8", "surrogatepass")) <= self.max_inline_bytes:
            return Document(text=text)
        key = self.put(f"records/{tenant}/{job_id}/{name}.json", text.encode())
        return Document(object_key=key, digest=hashlib.sha256(text.encode()).hexdigest()[:32])

    def load(self, document: Document | None) -> Any:
        if document is None:
            return None
        if document.object_key is None:
            return json.loads(document.text or "null")
        return json.loads(self.read(document.object_key))

    def put(self, key: str, body: bytes) -> str:
        self.faults.raise_planned("put")
        self.objects[key] = body
        return key

    def read(self, key: str) -> bytes:
        self.faults.raise_planned("read")
        self.read_count += 1
        if key not in self.objects:
            raise NotFoundError("the document is gone")
        return self.objects[key]


class FakeCommandQueue:
    """The dispatch queue; `sent` has the commands with their delays."""

    def __init__(self) -> None:
        self.sent: list[tuple[DispatchCommand, float]] = []
        self.faults = Faults()

    def send(self, command: DispatchCommand, *, delay_seconds: float = 0) -> None:
        self.faults.raise_planned("send")
        self.sent.append((command, delay_seconds))

    def send_all(self, commands: Sequence[DispatchCommand]) -> None:
        for command in commands:
            self.send(command)

    @property
    def commands(self) -> list[DispatchCommand]:
        return [command for command, _ in self.sent]


class FakeEventBus:
    """The service's event bus."""

    def __init__(self) -> None:
        self.published: list[Event] = []
        self.faults = Faults()

    def publish(self, events: Sequence[Event]) -> None:
        self.faults.raise_planned("publish")
        self.published += events

    def queue_bodies(self) -> list[str]:
        """Return the published events as a rule puts them on a queue."""
        return [build_queue_body(event) for event in self.published]


class FakeHarvestQueue:
    """The harvest queue; `sent` has the events with their delays."""

    def __init__(self) -> None:
        self.sent: list[tuple[Event, float]] = []
        self.faults = Faults()

    def send(self, event: Event, *, tenant: str, delay_seconds: float = 0) -> None:
        self.faults.raise_planned("send")
        self.sent.append((event, delay_seconds))


# All but the characters that a message may have (Amazon SQS API reference, SendMessage).
_REJECTED_BY_SQS = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def build_queue_body(event: Event) -> str:
    """Return the event as a rule of the event bus puts it on a queue."""
    body = json.dumps(
        {
            "detail-type": event.name.value,
            "source": event.source.value,
            "detail": json.loads(event.to_detail()),
        },
        ensure_ascii=False,
    )
    assert not _REJECTED_BY_SQS.search(body)
    return body
