"""Tables and bucket in memory with the rows and objects of ended jobs, and the sweep that deletes them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any

from replicate_proxy.aws.batch_store import DynamoBatchStore
from replicate_proxy.aws.deletion_store import DynamoDeletionStore
from replicate_proxy.aws.delivery_store import DynamoDeliveryStore
from replicate_proxy.aws.dynamodb import from_item
from replicate_proxy.aws.idempotency_store import DynamoIdempotencyStore
from replicate_proxy.aws.job_store import DynamoJobStore
from replicate_proxy.aws.object_remover import S3ObjectRemover
from replicate_proxy.aws.row_removers import DynamoDeliveryRemover, DynamoUsageMarkRemover
from replicate_proxy.aws.slot_store import DynamoSlotStore
from replicate_proxy.aws.usage_store import DynamoUsageStore
from replicate_proxy.concurrency.remains import leave_limits
from replicate_proxy.deletion.deleter import JobDeleter
from replicate_proxy.deletion.sweep import DeletionSweep
from replicate_proxy.ids import hash_idempotency_key
from replicate_proxy.jobs.model import (
    Batch,
    Cost,
    Document,
    JobStatus,
    TimelineStep,
)
from replicate_proxy.outputs.storage import ObjectLocation, build_object_key, list_job_prefixes
from replicate_proxy.ports import IdempotencyRecord
from replicate_proxy.usage.model import EndedJob
from replicate_proxy.webhooks.model import EventKind, StoredEvent
from tests.support.builders import BASE_URL, make_job
from tests.support.clock import NOW, FakeClock
from tests.support.webhook_builders import make_attempt, make_delivery
from tools.simulation.aws import InMemoryAws
from tools.simulation.resources import BUCKET, Table

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicate_proxy.deletion.model import Deletion
    from replicate_proxy.jobs.model import Job
    from tools.simulation.aws import Call

KEY_SECRET = b"the key of output keys"
KEY = "the key of a create"


class Crash(BaseException):
    """The process has ended. Not an Exception, so that no handler can catch it."""


@dataclass
class CallCounter:
    """Counts calls of AWS, and ends the process at one of them: before or after it takes effect."""

    crash_at: int | None = None
    crashes_after_effect: bool = False
    fails_with: Exception | None = None
    count: int = 0
    names: list[str] = field(default_factory=list)
    lock: Lock = field(default_factory=Lock)

    def __call__(self, call: Call, perform: Callable[[], Any]) -> Any:
        with self.lock:
            return self._perform(call, perform)

    def _perform(self, call: Call, perform: Callable[[], Any]) -> Any:
        self.count += 1
        self.names.append(f"{call.service}.{call.operation}")
        if self.count != self.crash_at:
            return perform()
        if self.crashes_after_effect:
            perform()
        raise self.fails_with or Crash


class StoredJobs:
    """Rows and objects of jobs, as the functions leave them."""

    event_count = 3

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.aws = InMemoryAws.from_template(lambda: self.clock.now().timestamp())
        self._lock = Lock()
        self.aws.gate = self.perform_alone
        dynamodb: Any = self.aws.client("dynamodb")
        self._dynamodb = dynamodb
        self._s3: Any = self.aws.client("s3")
        self.jobs = DynamoJobStore(dynamodb, Table.JOBS)
        self.batches = DynamoBatchStore(dynamodb, Table.JOBS, self.jobs)
        self.store = DynamoDeletionStore(dynamodb, Table.JOBS, self.batches)
        self.deliveries = DynamoDeliveryStore(dynamodb, Table.DELIVERIES, due_shards=8)
        self.idempotency = DynamoIdempotencyStore(dynamodb, Table.JOBS)
        self.slots = DynamoSlotStore(dynamodb, control_table=Table.CONTROL, jobs_table=Table.JOBS)
        self._usage = DynamoUsageStore(dynamodb, Table.USAGE)
        self.deleter = JobDeleter(self.store, self.clock)
        self.sweep = DeletionSweep(
            store=self.store,
            objects=S3ObjectRemover(self._s3, BUCKET),
            list_prefixes=list_prefixes,
            rows=[DynamoDeliveryRemover(dynamodb, Table.DELIVERIES)],
            late_rows=[DynamoUsageMarkRemover(dynamodb, Table.USAGE)],
            leave_limits=partial(leave_limits, self.slots),
            clock=self.clock,
        )

    def perform_alone(self, _call: Call, perform: Callable[[], Any]) -> Any:
        """Perform one call after the other: the services in memory are not for several threads."""
        with self._lock:
            return perform()

    def add(self, tenant: str = "acme", *, key: str = KEY, **fields: Any) -> Job:
        """Store an ended job with all that may belong to one, and return it."""
        defaults: dict[str, Any] = {
            "created_at": NOW - timedelta(minutes=1),
            "replicate_id": f"prediction-{tenant}-{key}",
            "idempotency_hash": hash_idempotency_key(key),
            "cost": Cost(micro_usd=5),
            "timeline": {TimelineStep.FINISHED: NOW},
        }
        job = make_job(JobStatus.SUCCEEDED, tenant=tenant, revision=0, **{**defaults, **fields})
        if job.batch_id is None:
            self.jobs.create(job)
        self.idempotency.claim(IdempotencyRecord(tenant, key, "fingerprint", job.id), now=self.clock.now())
        self.jobs.claim_prediction(job.replicate_id or "", tenant, job.id, now=NOW)
        for sequence in range(1, self.event_count + 1):
            self.deliveries.create_event(make_stored_event(job, sequence))
            for target in ("prediction", "ep_1"):
                delivery = make_delivery(tenant=tenant, job_id=job.id, sequence=sequence, target=target)
                self.deliveries.create(delivery)
                for number in range(5):
                    self.deliveries.record_attempt(
                        make_attempt(
                            tenant=tenant, job_id=job.id, sequence=sequence, target=target, number=number
                        )
                    )
        self._usage.count([EndedJob.from_job(job)], now=NOW)
        self.put_objects(job)
        stored = self.jobs.get(tenant, job.id)
        return stored or job

    def add_batch(self, tenant: str = "acme", count: int = 2) -> tuple[Batch, list[Job]]:
        batch_id = make_job().id
        jobs = [self.add(tenant, key=f"{batch_id}-{number}", batch_id=batch_id) for number in range(count)]
        batch = Batch(
            tenant=tenant,
            id=batch_id,
            created_at=NOW,
            public_base_url=BASE_URL,
            job_ids=tuple(job.id for job in jobs),
            idempotency_hash=hash_idempotency_key(batch_id),
        )
        self.batches.create(batch, jobs)
        self.idempotency.claim(IdempotencyRecord(tenant, batch_id, "fingerprint", batch_id), now=NOW)
        return batch, jobs

    def put_objects(self, job: Job) -> None:
        keys = [f"{prefix}{number}" for prefix in list_prefixes_of(job) for number in range(2)]
        location = ObjectLocation(job.tenant, job.id, ("0",))
        keys += [
            build_object_key(KEY_SECRET, "outputs", location, sha256="ab", name="out.webp"),
            f"records/{job.tenant}/{job.id}/input.json",
        ]
        for key in keys:
            self._s3.put_object(Bucket=BUCKET, Key=key, Body=b"content")

    def run_sweep(self, gate: CallCounter | None = None) -> dict[str, int]:
        """Run the sweep; `gate` sees its calls."""
        if gate is not None:
            self.aws.gate = gate
        try:
            return self.sweep.delete_jobs(self.clock.now() + timedelta(seconds=50))
        finally:
            self.aws.gate = self.perform_alone

    def run_all_passes(self) -> None:
        """Run the sweep until the last passes of all deletions are over."""
        for _ in range(3):
            self.run_sweep()
            self.clock.advance(26 * 3600)
        self.run_sweep()

    def list_rows(self) -> set[tuple[str, str, str]]:
        """Return the keys of all rows with their tables, without the counters of usage."""
        return {
            (name, record["pk"], record.get("sk", ""))
            for name, table in self.aws.dynamodb.tables.items()
            for record in (from_item(stored.item) for stored in table.items.values())
            if not str(record["pk"]).startswith("USAGE#")
        }

    def list_objects(self) -> set[str]:
        return set(self.aws.s3.objects(BUCKET))


def make_stored_event(job: Job, sequence: int) -> StoredEvent:
    return StoredEvent(
        tenant=job.tenant,
        job_id=job.id,
        sequence=sequence,
        kind=EventKind.COMPLETED,
        message_id=f"msg_{sequence}",
        created_at=NOW,
        body=Document(text='"body"'),
        expires_at=2_000_000_000,
    )


def list_prefixes(deletion: Deletion) -> list[str]:
    return list_prefixes_of(deletion, has_files=deletion.deletes_files)


def list_prefixes_of(job: Job | Deletion, *, has_files: bool = True) -> list[str]:
    prefixes = [f"records/{job.tenant}/{job.id}/", f"events/{job.tenant}/{job.id}/"]
    return prefixes + (list_job_prefixes(KEY_SECRET, job.tenant, job.id) if has_files else [])
