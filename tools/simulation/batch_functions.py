"""The functions of large batches, composed like those in `functions`: ingest's part, and the worker.

What is replaced: the records of input files, which the route of files writes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from replicate_proxy.aws.batch_objects import S3BatchObjects
from replicate_proxy.aws.invocations import AsyncInvocation
from replicate_proxy.aws.large_batch_store import DynamoLargeBatchStore
from replicate_proxy.aws.lease import Lease
from replicate_proxy.aws.object_remover import S3ObjectRemover
from replicate_proxy.aws.row_removers import DynamoDeliveryRemover
from replicate_proxy.aws.usage_store import DynamoBatchCounts
from replicate_proxy.background_worker import start_worker
from replicate_proxy.batches.expander import BatchExpander
from replicate_proxy.batches.results import ResultReader, ResultWriter
from replicate_proxy.batches.worker import BatchWorker
from replicate_proxy.errors import NotFoundError
from replicate_proxy.files.model import FILE_LIFETIME, StoredFile
from replicate_proxy.ids import generate_id
from replicate_proxy.services.cancel import JobCanceler
from replicate_proxy.services.large_batches import LargeBatchService
from tools.simulation.resources import BATCH_FUNCTION, BUCKET, Table

if TYPE_CHECKING:
    from collections.abc import Callable

    from replicate_proxy.api.predictions.job_request_parser import JobRequestParser
    from replicate_proxy.aws.control_table import ControlTable
    from replicate_proxy.aws.document_store import S3DocumentStore
    from replicate_proxy.aws.idempotency_store import DynamoIdempotencyStore
    from replicate_proxy.aws.job_store import DynamoJobStore
    from replicate_proxy.aws.queues import SqsCommandQueue
    from replicate_proxy.budgets.gate import BudgetGate
    from replicate_proxy.jobs.timeouts import JobTimeouts
    from replicate_proxy.jobs.updater import JobUpdater
    from replicate_proxy.ports import Clock
    from replicate_proxy.services.ingest import JobFactory
    from replicate_proxy.services.input_check import CheckInput
    from replicate_proxy.webhooks.batch_notifier import BatchNotifier
    from tools.simulation.aws import InMemoryAws


class InputFiles:
    """The input files that callers have uploaded. Nothing of it passes the gate."""

    def __init__(self, aws: InMemoryAws, clock: Clock) -> None:
        self._s3 = aws.s3
        self._clock = clock
        self._files: dict[str, StoredFile] = {}

    def add(self, tenant: str, content: bytes) -> StoredFile:
        now = self._clock.now()
        file = StoredFile(
            id=generate_id(now),
            tenant=tenant,
            name="lines.jsonl",
            content_type="application/jsonl",
            created_at=now,
            expires_at=now + FILE_LIFETIME,
            size_bytes=len(content),
        )
        self._files[file.id] = file
        self._s3.put_object({"Bucket": BUCKET, "Key": file.object_key, "Body": content})
        return file

    def find(self, tenant: str, file_id: str) -> StoredFile:
        """Return the file. Raises NotFoundError."""
        file = self._files.get(file_id)
        if file is None or file.tenant != tenant:
            raise NotFoundError("no such file")
        return file

    def delete(self, file_id: str) -> None:
        file = self._files.pop(file_id)
        self._s3.delete_object({"Bucket": BUCKET, "Key": file.object_key})


@dataclass(frozen=True, kw_only=True)
class BatchFunctions:
    """Builds the functions of large batches from what they share with others."""

    aws: InMemoryAws
    files: InputFiles
    clock: Clock
    timeouts: JobTimeouts
    jobs: DynamoJobStore
    documents: S3DocumentStore
    idempotency: DynamoIdempotencyStore
    factory: JobFactory
    parser: JobRequestParser
    budgets: BudgetGate
    check_input: CheckInput
    updater: JobUpdater
    queue: SqsCommandQueue
    control_table: ControlTable
    part_bytes: int
    checkpoint: Callable[[str], None]

    def build_service(self) -> LargeBatchService:
        return LargeBatchService(
            store=self._build_store(),
            idempotency=self.idempotency,
            find_file=self.files.find,
            factory=self.factory,
            starter=self._build_starter(),
            clock=self.clock,
            checkpoint=self.checkpoint,
        )

    def build_starter(self) -> Callable[[], None]:
        """Return what the sweep does: start the worker if a batch is due."""
        store, starter = self._build_store(), self._build_starter()
        return lambda: start_worker(starter, has_work=lambda: store.has_due(self.clock.now()))

    def build_worker(self, notifier: Callable[[DynamoBatchCounts], BatchNotifier]) -> BatchWorker:
        store, counts = self._build_store(), self.build_counts()
        objects = S3BatchObjects(self.aws.client("s3"), BUCKET)
        deliveries = DynamoDeliveryRemover(self.aws.client("dynamodb"), Table.DELIVERIES)

        def remove_rows(tenant: str, batch_id: str) -> None:
            deliveries.remove_job(tenant, batch_id)
            counts.remove_counts(tenant, batch_id)

        return BatchWorker(
            store=store,
            objects=objects,
            jobs=self.jobs,
            counts=counts,
            expander=BatchExpander(
                store=store,
                objects=objects,
                parser=self.parser,
                factory=self.factory,
                queue=self.queue,
                timeouts=self.timeouts,
                clock=self.clock,
                budgets=self.budgets,
                check_input=self.check_input,
                checkpoint=self.checkpoint,
            ),
            writer=ResultWriter(
                ResultReader(objects, self.jobs, self.documents), objects, part_bytes=self.part_bytes
            ),
            notify=notifier(counts).notify,
            cancel=JobCanceler(self.updater, self.queue, checkpoint=self.checkpoint).request_cancel,
            remove_objects=S3ObjectRemover(self.aws.client("s3"), BUCKET).remove_all,
            remove_rows=remove_rows,
            lease=Lease(self.control_table, "batches", self.clock),
            clock=self.clock,
            checkpoint=self.checkpoint,
        )

    def build_counts(self) -> DynamoBatchCounts:
        return DynamoBatchCounts(self.aws.client("dynamodb"), Table.USAGE)

    def _build_store(self) -> DynamoLargeBatchStore:
        return DynamoLargeBatchStore(self.aws.client("dynamodb"), Table.JOBS)

    def _build_starter(self) -> AsyncInvocation:
        return AsyncInvocation(self.aws.client("lambda"), BATCH_FUNCTION, {"task": "work"})
