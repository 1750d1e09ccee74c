"""Large batches over the simulation's DynamoDB, with everything else in memory; any call can be the last."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from replicate_proxy.api.predictions.job_request_parser import JobRequestParser, ParserSettings
from replicate_proxy.auth.principal import Principal
from replicate_proxy.aws.budget_store import DynamoBudgetedJobs, DynamoBudgetStore
from replicate_proxy.aws.control_table import ControlTable
from replicate_proxy.aws.endpoint_store import DynamoEndpointStore
from replicate_proxy.aws.idempotency_store import DynamoIdempotencyStore
from replicate_proxy.aws.job_store import DynamoJobStore
from replicate_proxy.aws.large_batch_store import DynamoLargeBatchStore
from replicate_proxy.aws.lease import Lease
from replicate_proxy.aws.usage_store import DynamoBatchCounts, DynamoUsageStore
from replicate_proxy.batches.expander import BatchExpander
from replicate_proxy.batches.results import ResultReader, ResultWriter
from replicate_proxy.batches.worker import BatchWorker
from replicate_proxy.budgets.model import BudgetLimits, BudgetOwner
from replicate_proxy.errors import NotFoundError
from replicate_proxy.files.model import StoredFile
from replicate_proxy.jobs.model import Cost, Document, JobStatus
from replicate_proxy.jobs.timeouts import JobTimeouts
from replicate_proxy.jobs.updater import JobUpdater
from replicate_proxy.pauses.pause import PauseSwitch
from replicate_proxy.services.cancel import JobCanceler
from replicate_proxy.services.ingest import JobFactory
from replicate_proxy.services.input_check import InputChecker
from replicate_proxy.services.large_batches import LargeBatchRequest, LargeBatchService
from replicate_proxy.usage.counter import UsageCounter
from replicate_proxy.webhooks.batch_notifier import BatchNotifier
from replicate_proxy.webhooks.model import JobChange
from replicate_proxy.webhooks.settings import DeliverySettings
from tests.support.admin_fakes import FakeWorkerStarter
from tests.support.aws import (
    CONTROL_TABLE,
    DELIVERIES_TABLE,
    JOBS_TABLE,
    USAGE_TABLE,
    create_in_memory_aws,
)
from tests.support.clock import FakeClock
from tests.support.crashes import CrashPoint
from tests.support.delivery_store import InMemoryDeliveryStore
from tests.support.fakes import FakeCommandQueue, FakeDocumentStore
from tests.support.model_entries import FakeEntries
from tests.support.pauses import FakePauseStore
from tests.support.schemas import FakeSchemas
from tests.support.usage import build_budget_gate
from tests.support.webhook_fakes import FakeDeliveryQueue
from tools.simulation.functions.input_files import build_input_file

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from replicate_proxy.jobs.model import Batch, Job

TENANT = "acme"
CALLER = Principal(TENANT, "key-1")
MODEL = "acme/flux"
# The estimate of each job of a tenant with a budget.
JOB_MICRO_USD = 40


class FakeBatchObjects:
    """The BatchObjects port in memory."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.uploads: dict[str, dict[int, bytes]] = {}
        self.completed_uploads = 0
        self.max_read_bytes = 0
        self.on_read: Callable[[str], object] = lambda _key: None

    def read_range(self, key: str, position: int, length: int) -> bytes:
        content = self.read(key)[position : position + length]
        if not content:
            raise NotFoundError(key)
        self.max_read_bytes = max(self.max_read_bytes, len(content))
        return content

    def put(self, key: str, body: bytes) -> None:
        self.objects[key] = body

    def read(self, key: str) -> bytes:
        self.on_read(key)
        if key not in self.objects:
            raise NotFoundError(key)
        return self.objects[key]

    def exists(self, key: str) -> bool:
        return key in self.objects

    def start_upload(self, key: str) -> str:
        upload = f"{key}/{len(self.uploads)}"
        self.uploads[upload] = {}
        return upload

    def upload_part(self, key: str, upload: str, number: int, body: bytes) -> str:
        if upload not in self.uploads:
            raise NotFoundError(key)
        self.uploads[upload][number] = body
        return _build_tag(body)

    def complete_upload(self, key: str, upload: str, parts: Sequence[str]) -> None:
        stored = self.uploads.get(upload, {})
        if [_build_tag(stored[number]) for number in sorted(stored)] != list(parts):
            raise NotFoundError(key)
        del self.uploads[upload]
        self.objects[key] = b"".join(stored[number] for number in range(1, len(parts) + 1))
        self.completed_uploads += 1

    def create_download_url(self, key: str, *, name: str, lifetime: timedelta) -> str:
        return f"https://bucket.test/{key}?name={name}&seconds={lifetime.total_seconds():.0f}"

    def remove_all(self, prefix: str) -> int:
        keys = [key for key in self.objects if key.startswith(prefix)]
        for key in keys:
            del self.objects[key]
        return len(keys)


class LargeBatches:
    """The service, the worker and the counter of large batches. `point` chooses the call that crashes."""

    def __init__(self, point: CrashPoint | None = None, *, part_bytes: int = 200) -> None:
        self.point = point or CrashPoint()
        self.clock = FakeClock()
        self.aws = create_in_memory_aws()
        self.objects = FakeBatchObjects()
        self.documents = FakeDocumentStore()
        self.queue = FakeCommandQueue()
        self.entries = FakeEntries()
        self.pauses = FakePauseStore()
        self.schemas = FakeSchemas()
        self.starter = FakeWorkerStarter()
        self.delivery_queue = FakeDeliveryQueue(self.clock)
        self.files: dict[str, StoredFile] = {}
        self.timeouts = JobTimeouts()
        plain = self.aws.client("dynamodb")
        # What the tests themselves use never crashes.
        self.deliveries = InMemoryDeliveryStore(plain)
        self.jobs = DynamoJobStore(plain, JOBS_TABLE)
        self.store = DynamoLargeBatchStore(plain, JOBS_TABLE)
        self.counts = DynamoBatchCounts(plain, USAGE_TABLE)
        self.updater = JobUpdater(self.jobs, self.clock, self.timeouts)
        self.counter = UsageCounter(DynamoUsageStore(plain, USAGE_TABLE), self.clock, self.clock.sleep)
        self.budget_limits = DynamoBudgetStore(plain, USAGE_TABLE)
        self.service = self._build_service()
        self.worker = self._build_worker(part_bytes)

    def _build_service(self) -> LargeBatchService:
        client = self.point.wrap(self.aws.client("dynamodb"))
        return LargeBatchService(
            store=DynamoLargeBatchStore(client, JOBS_TABLE),
            idempotency=DynamoIdempotencyStore(client, JOBS_TABLE),
            find_file=self._find_file,
            factory=JobFactory(self.documents, self.timeouts),
            starter=self.point.wrap(self.starter),
            clock=self.clock,
        )

    def _build_worker(self, part_bytes: int) -> BatchWorker:
        wrap = self.point.wrap
        client = wrap(self.aws.client("dynamodb"))
        store, jobs = DynamoLargeBatchStore(client, JOBS_TABLE), DynamoJobStore(client, JOBS_TABLE)
        counts, objects = DynamoBatchCounts(client, USAGE_TABLE), wrap(self.objects)
        documents, queue = wrap(self.documents), wrap(self.queue)
        updater = JobUpdater(jobs, self.clock, self.timeouts)
        notifier = BatchNotifier(
            deliveries=InMemoryDeliveryStore(client),
            endpoints=DynamoEndpointStore(self.aws.client("dynamodb"), DELIVERIES_TABLE),
            documents=documents,
            counts=counts,
            queue=wrap(self.delivery_queue),
            clock=self.clock,
            settings=DeliverySettings(),
        )
        expander = BatchExpander(
            store=store,
            objects=objects,
            parser=JobRequestParser(
                ParserSettings(),
                lambda *_: None,
                entries=self.entries,
                check_pause=PauseSwitch(self.pauses, monotonic=self.clock.monotonic).check,
            ),
            factory=JobFactory(documents, self.timeouts),
            queue=queue,
            timeouts=self.timeouts,
            clock=self.clock,
            budgets=build_budget_gate(
                DynamoBudgetedJobs(client, USAGE_TABLE, JOBS_TABLE), self.clock, lambda _: JOB_MICRO_USD
            ),
            check_input=InputChecker(self.schemas).check,
        )
        return BatchWorker(
            store=store,
            objects=objects,
            jobs=jobs,
            counts=counts,
            expander=expander,
            writer=ResultWriter(
                ResultReader(objects, jobs, documents), objects, self.clock, part_bytes=part_bytes
            ),
            notify=notifier.notify,
            cancel=JobCanceler(updater, queue).request_cancel,
            remove_objects=objects.remove_all,
            remove_rows=counts.remove_counts,
            lease=Lease(ControlTable(client, CONTROL_TABLE), "batches", self.clock),
            clock=self.clock,
        )

    # The caller's side

    def add_file(self, content: bytes, tenant: str = TENANT) -> str:
        file = build_input_file(tenant, content, self.clock.now())
        self.files[file.id] = file
        self.objects.put(file.object_key, content)
        return file.id

    def _find_file(self, tenant: str, file_id: str) -> StoredFile:
        file = self.files.get(file_id)
        if file is None or file.tenant != tenant:
            raise NotFoundError(file_id)
        return file

    def create(self, content: bytes, *, tenant: str = TENANT, **fields: Any) -> Batch:
        return self.create_from(self.add_file(content, tenant), tenant=tenant, **fields)

    def create_from(self, file_id: str, *, tenant: str = TENANT, **fields: Any) -> Batch:
        request = LargeBatchRequest(
            **{
                "input_file": file_id,
                "public_base_url": "https://proxy.test/prod",
                "correlation_id": "c-1",
                **fields,
            }
        )
        return self.service.create(request, replace(CALLER, tenant=tenant))[0]

    def set_budget(self, jobs: int) -> None:
        self.budget_limits.put_limits(BudgetOwner(TENANT), BudgetLimits(day_micro_usd=jobs * JOB_MICRO_USD))

    # The stack's side

    def run(self, seconds: float = 60) -> int:
        """Run the worker once, a minute after the last time, as the sweep does."""
        self.clock.advance(61)
        return self.worker.run(self.clock.now() + timedelta(seconds=seconds))

    def list_jobs(self) -> list[Job]:
        """Return all jobs of the tenant, in the order of their IDs."""
        found: list[Job] = []
        before_id = None
        while True:
            page = self.jobs.list_jobs(TENANT, before_id=before_id, min_id=None, limit=100)
            found += page.jobs
            before_id = page.next_before_id
            if before_id is None:
                return found[::-1]

    def end_jobs(self, status: JobStatus = JobStatus.SUCCEEDED) -> None:
        """End the jobs that were sent, and count them as the stream does."""
        changes = []
        sent = {command.job_id for command in self.queue.commands}
        for job in (job for job in self.list_jobs() if job.id in sent):
            if job.is_terminal:
                changes.append(JobChange(replace(job, status=JobStatus.QUEUED), job))
                continue
            ended = replace(
                job,
                status=status,
                output=Document(text=json.dumps([f"https://outputs.test/{job.id}"])),
                cost=Cost(micro_usd=JOB_MICRO_USD),
                next_check_at=None,
            )
            self.jobs.save(ended)
            changes.append(JobChange(job, ended))
        assert self.counter.count(changes) is None

    def get(self, batch: Batch) -> Batch:
        stored = self.store.get(batch.tenant, batch.id)
        assert stored is not None
        return stored

    def read_results(self, batch: Batch) -> list[dict[str, Any]]:
        body = self.objects.read(f"batches/{batch.tenant}/{batch.id}/results.jsonl")
        return [json.loads(line) for line in body.splitlines()]


def _build_tag(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


def make_lines(count: int) -> bytes:
    """Return the content of a file with so many valid lines."""
    return b"".join(make_line(number) for number in range(1, count + 1))


def make_line(number: int, **fields: Any) -> bytes:
    line = {"custom_id": f"line-{number}", "model": MODEL, "input": {"prompt": f"cat {number}"}, **fields}
    return json.dumps({name: value for name, value in line.items() if value is not None}).encode() + b"\n"
