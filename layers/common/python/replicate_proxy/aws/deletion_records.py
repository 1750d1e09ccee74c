"""The record of a deletion in the jobs table: under the key of its job, in `by_due` only. No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from replicate_proxy.aws.job_records import DELETED, deletion_shard, job_key
from replicate_proxy.clock import format_timestamp, parse_timestamp
from replicate_proxy.deletion.model import Deletion

if TYPE_CHECKING:
    from collections.abc import Mapping


def record_from_deletion(deletion: Deletion, *, revision: int) -> dict[str, Any]:
    """Return the record, without the attributes that would put it into the lists of jobs."""
    return {
        **job_key(deletion.tenant, deletion.id),
        "status": DELETED,
        # A save of the job is conditional on its revision.
        "revision": revision,
        "requested_at": format_timestamp(deletion.requested_at),
        "final_at": format_timestamp(deletion.final_at),
        "next_check_at": format_timestamp(deletion.next_pass_at),
        "due_shard": deletion_shard(deletion.id),
        "deletes_files": deletion.deletes_files,
        "predictions": list(deletion.predictions),
        # By the name of the first version, which finishes no deletion without it.
        "lines": list(deletion.limits),
        "batch_id": deletion.batch_id,
        "idempotency_hash": deletion.idempotency_hash,
    }


def deletion_from_record(record: Mapping[str, Any]) -> Deletion:
    tenant, _, job_id = record["pk"].removeprefix("JOB#").rpartition("#")
    return Deletion(
        tenant=tenant,
        id=job_id,
        requested_at=parse_timestamp(record["requested_at"]),
        next_pass_at=parse_timestamp(record["next_check_at"]),
        final_at=parse_timestamp(record["final_at"]),
        deletes_files=record["deletes_files"],
        predictions=tuple(record["predictions"]),
        limits=tuple(record.get("lines", ())),
        batch_id=record.get("batch_id"),
        idempotency_hash=record.get("idempotency_hash"),
    )
