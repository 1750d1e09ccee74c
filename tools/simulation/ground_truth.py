"""What is stored, read without passing the gate, and without the caches of the code under test."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from replicate_proxy.aws.delivery_records import job_pk, tenant_pk
from replicate_proxy.aws.dynamodb import from_item
from replicate_proxy.aws.job_records import batch_key, is_deletion, job_from_record
from tools.simulation.observation import ConvertedRecords, is_deletion_item, observe_writes, read_partition
from tools.simulation.resources import BUCKET, Table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from replicate_proxy.jobs.model import Document, Job
    from tools.simulation.aws import InMemoryAws


class GroundTruth:
    """What is stored, read without passing the gate."""

    def __init__(self, aws: InMemoryAws) -> None:
        self._aws = aws
        self._jobs = ConvertedRecords(aws, Table.JOBS, _parse_job)
        # As they were when they were deleted
        self.deleted_jobs: dict[tuple[str, str], Job] = {}
        observe_writes(aws, self._note_deletion)

    def read_jobs(self) -> list[Job]:
        """Return every job, deleted ones as they were before that."""
        return [*self._jobs.read(), *self.deleted_jobs.values()]

    def read_stored_jobs(self) -> list[Job]:
        """Return every job that is not deleted."""
        return self._jobs.read()

    def load(self, document: Document | None) -> Any:
        """Return the value of a document, None without one."""
        if document is None:
            return None
        if document.object_key is None:
            return json.loads(document.text or "null")
        return json.loads(self._aws.s3.objects(BUCKET)[document.object_key].body)

    def is_large_batch(self, tenant: str, name: str) -> bool:
        """Return whether a batch has this ID."""
        return any(
            "large" in record
            for record in read_partition(
                self._aws, Table.JOBS, batch_key(tenant, name)["pk"], sk_prefix="BATCH"
            )
        )

    def find_endpoint(self, tenant: str, endpoint_id: str) -> Mapping[str, Any] | None:
        """Return the stored record of an endpoint."""
        sk = f"ENDPOINT#{endpoint_id}"
        records = read_partition(self._aws, Table.DELIVERIES, tenant_pk(tenant), sk_prefix=sk)
        return next((record for record in records if record["sk"] == sk), None)

    def find_signing_secrets(self, url: str) -> tuple[str, ...]:
        """Return the secrets that the owner of a receiver knows: those that are stored now."""
        tenant = get_owner(url)
        kind = "ENDPOINT#" if url.endswith("/endpoint") else "SECRET"
        return tuple(
            secret["text"]
            for record in read_partition(self._aws, Table.DELIVERIES, tenant_pk(tenant), sk_prefix=kind)
            for secret in record["secrets"]
        )

    def is_redelivery(self, url: str, headers: Mapping[str, str], prediction: Mapping[str, object]) -> bool:
        partition = job_pk(get_owner(url), str(prediction["id"]))
        return any(
            record["schedule_started_at"] != record["created_at"]
            for record in read_partition(self._aws, Table.DELIVERIES, partition, sk_prefix="DELIVERY#")
            if record["message_id"] == headers["webhook-id"]
        )

    def _note_deletion(
        self, table: str, old: Mapping[str, Any] | None, new: Mapping[str, Any] | None
    ) -> None:
        if table != Table.JOBS or old is None or not is_deletion_item(new):
            return
        if not is_deletion_item(old):
            job = job_from_record(from_item(old))
            self.deleted_jobs[job.tenant, job.id] = job


def get_owner(url: str) -> str:
    """Return the tenant whose receiver has this URL."""
    return url.removeprefix("https://").partition(".")[0]


def _parse_job(record: Mapping[str, Any]) -> Job | None:
    return job_from_record(record) if record["sk"] == "JOB" and not is_deletion(record) else None
