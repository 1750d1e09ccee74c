"""The stores of jobs over the simulation's AWS, with faults that a test plans and what only tests ask."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from replicate_proxy.aws.batch_store import DynamoBatchStore
from replicate_proxy.aws.dynamodb import from_item, to_item
from replicate_proxy.aws.job_records import (
    is_deletion,
    job_from_record,
    job_key,
    prediction_owner_key,
    record_from_job,
)
from replicate_proxy.aws.job_store import DynamoJobStore
from tests.support.aws import JOBS_TABLE, create_in_memory_aws
from tests.support.fakes import Faults

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from replicate_proxy.jobs.model import Batch, Job
    from replicate_proxy.ports import DueJob, PredictionOwner


class InMemoryJobStore(DynamoJobStore):
    """The JobStore. The planned fault "create" is raised before a job is stored, "create_response" after."""

    def __init__(self) -> None:
        self.dynamodb: Any = create_in_memory_aws().client("dynamodb")
        super().__init__(self.dynamodb, JOBS_TABLE)
        self.faults = Faults()
        self.before_save: Callable[[Job], None] = lambda _: None

    def create(self, job: Job) -> None:
        self.faults.raise_planned("create")
        super().create(job)
        self.faults.raise_planned("create_response")

    def get(self, tenant: str, job_id: str, *, consistent: bool = True) -> Job | None:
        self.faults.raise_planned("get")
        return super().get(tenant, job_id, consistent=consistent)

    def save(self, job: Job) -> Job:
        self.before_save(job)
        return super().save(job)

    def list_due_jobs(self, *, before: datetime, limit: int, requires_all: bool = False) -> Sequence[DueJob]:
        if requires_all:
            self.faults.raise_planned("list_all_due_jobs")
        self.faults.raise_planned("list_due_jobs")
        return super().list_due_jobs(before=before, limit=limit, requires_all=requires_all)

    @property
    def jobs(self) -> dict[tuple[str, str], Job]:
        """All jobs, by tenant and ID."""
        records = [
            record for record in self.read_table() if record["sk"] == "JOB" and not is_deletion(record)
        ]
        return {(record["tenant"], record["id"]): job_from_record(record) for record in records}

    def only_job(self) -> Job:
        (job,) = self.jobs.values()
        return job

    def read_table(self) -> list[dict[str, Any]]:
        """Return all records of the table."""
        pages = self.dynamodb.get_paginator("scan").paginate(TableName=JOBS_TABLE, ConsistentRead=True)
        return [from_item(item) for page in pages for item in page["Items"]]

    def put(self, job: Job) -> Job:
        """Store the job as it is, whatever was stored before."""
        self.dynamodb.put_item(TableName=JOBS_TABLE, Item=to_item(record_from_job(job)))
        return job

    def put_owner(self, replicate_id: str, owner: PredictionOwner) -> None:
        record = {"tenant": owner.tenant, "job_id": owner.job_id, "claim": owner.claim.value}
        item = to_item({**prediction_owner_key(replicate_id), **record})
        self.dynamodb.put_item(TableName=JOBS_TABLE, Item=item)

    def remove(self, tenant: str, job_id: str) -> None:
        self.dynamodb.delete_item(TableName=JOBS_TABLE, Key=to_item(job_key(tenant, job_id)))


class InMemoryBatchStore(DynamoBatchStore):
    """The BatchStore beside a InMemoryJobStore. Its faults are those of a create."""

    def __init__(self, jobs: InMemoryJobStore) -> None:
        super().__init__(jobs.dynamodb, JOBS_TABLE, jobs)
        self.faults = Faults()

    def create(self, batch: Batch, jobs: Sequence[Job]) -> None:
        self.faults.raise_planned("create")
        super().create(batch, jobs)
        self.faults.raise_planned("create_response")
