"""The items of the jobs table as records: their keys, and the attributes of a job. No I/O.

| pk                         | sk    | item                                                           |
|----------------------------|-------|----------------------------------------------------------------|
| JOB#<tenant>#<job>         | JOB   | a job; also in the indexes below. Or its deletion, whose       |
|                            |       | `status` is `deleted`, see `aws.deletion_records`              |
| BATCH#<tenant>#<batch>     | BATCH | a batch, with the IDs of its jobs; also in `by_tenant` under   |
|                            |       | `BATCHES#<tenant>`, and in `by_time` under `BATCHES`           |
| IDEM#<tenant>#<hash>       | IDEM  | an idempotency key, with the ID of its job or batch            |
| PREDICTION#<replicate ID>  | OWNER | the job that claimed or adopted a prediction on Replicate; in  |
|                            |       | a tenant's own account, `@<tenant>/<account>` follows the ID   |
| WAITING#<limit>            | <job> | a job that waits for a slot, see `aws.line_store`              |

| index        | key                            | holds                                                |
|--------------|--------------------------------|------------------------------------------------------|
| `by_tenant`  | tenant, id                     | all jobs                                             |
| `by_time`    | list_name `JOBS`, id           | all jobs of all tenants                              |
| `by_outcome` | outcome `failed`, id           | failed and canceled jobs, with `end_reason`          |
| `by_due`     | due_shard `DUE#<n>`,           | unfinished jobs, which the sweep has to check, with  |
|              | next_check_at                  | `status`                                             |
|              | due_shard `DELETE#<n>`,        | ended jobs by the end of their retention, and        |
|              | next_check_at                  | deletions by their next pass                         |

Job IDs are ordered by time. The tenant is part of the key, so that reading another tenant's job finds
nothing.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from replicate_proxy.clock import (
    format_optional_timestamp,
    format_timestamp,
    parse_optional_timestamp,
    parse_timestamp,
)
from replicate_proxy.jobs.model import (
    TERMINAL_STATUSES,
    AttemptOutcome,
    Cost,
    Document,
    EndReason,
    Fallback,
    FallbackCause,
    Job,
    JobStatus,
    PastAttempt,
    ReportChannel,
    Reservation,
    Submission,
    SubmissionKind,
    TimelineStep,
    Waiting,
    WaitReason,
)
from replicate_proxy.stored_fields import build_from_stored

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime


# Every save of a job writes to the due index. A partition takes 1,000 writes per second (Amazon DynamoDB,
# "Burst and adaptive capacity"), so these take 8,000.
DUE_PARTITIONS = tuple(f"DUE#{shard}" for shard in range(8))

# The `status` of a record that has taken the place of a job's.
DELETED = "deleted"

# A job is written there when it ends and when it is deleted.
DELETION_PARTITIONS = tuple(f"DELETE#{shard}" for shard in range(4))

# The partitions of `by_time`. A job is written there once, so that it takes 1,000 new jobs a second, which is
# a hundred times what Replicate accepts from an account.
JOB_LIST = "JOBS"
BATCH_LIST = "BATCHES"
# Nearly all jobs succeed: those in `by_outcome` are found among them without reading the others.
LISTED_OUTCOMES = frozenset({JobStatus.FAILED, JobStatus.CANCELED})

_TIMESTAMPS = (
    "next_check_at",
    "deadline",
    "lease_until",
    "create_sent_at",
    "cancel_requested_at",
    "started_at",
    "completed_at",
    "progress_at",
    "fallback_due_at",
    "abandoned_at",
    "delete_at",
)
_DOCUMENTS = ("replicate_output", "output", "files", "logs", "partial_output")
_PLAIN_VALUES = (
    "key_id",
    "batch_id",
    "batch_line",
    "custom_id",
    "retried_from",
    "retried_as",
    "webhook",
    "attempt",
    "failed_submissions",
    "checks",
    "replicate_id",
    "model",
    "version",
    "replicate_status",
    "error",
    "expires_at",
    "is_streamed",
    "stream_url",
    "requested_model",
    "entry_name",
    "price",
    "fallback_after_seconds",
    "idempotency_hash",
    "private_folder",
)


def job_key(tenant: str, job_id: str) -> dict[str, str]:
    return {"pk": f"JOB#{tenant}#{job_id}", "sk": "JOB"}


def batch_key(tenant: str, batch_id: str) -> dict[str, str]:
    return {"pk": f"BATCH#{tenant}#{batch_id}", "sk": "BATCH"}


def idempotency_key(tenant: str, key_hash: str | None) -> dict[str, str]:
    return {"pk": f"IDEM#{tenant}#{key_hash}", "sk": "IDEM"}


def prediction_owner_key(replicate_id: str) -> dict[str, str]:
    return {"pk": f"PREDICTION#{replicate_id}", "sk": "OWNER"}


def due_shard(job_id: str) -> str:
    """Return the partition of the due index; the last character of an ID is random."""
    return DUE_PARTITIONS[int(job_id[-1], 36) % len(DUE_PARTITIONS)]


def deletion_shard(job_id: str) -> str:
    return DELETION_PARTITIONS[int(job_id[-1], 36) % len(DELETION_PARTITIONS)]


def record_from_job(job: Job) -> dict[str, Any]:
    """Return the record of a job; attributes without a value are None."""
    is_due_for_deletion = job.is_terminal and job.delete_at is not None
    due_attributes = {
        "due_shard": due_shard(job.id) if job.next_check_at else None,
        "next_check_at": format_optional_timestamp(job.next_check_at),
    }
    if is_due_for_deletion:
        due_attributes = {
            "due_shard": deletion_shard(job.id),
            "next_check_at": format_optional_timestamp(job.delete_at),
        }
    return {
        **job_key(job.tenant, job.id),
        "tenant": job.tenant,
        "id": job.id,
        "status": job.status.value,
        "revision": job.revision,
        "created_at": format_timestamp(job.created_at),
        "submission": _record_from_submission(job.submission),
        "input": _record_from_document(job.input),
        "correlation_id": job.correlation_id,
        "public_base_url": job.public_base_url,
        "webhook_events": list(job.webhook_events) if job.webhook_events is not None else None,
        "image_options": json.dumps(dict(job.image_options)) if job.image_options else None,
        "metrics": json.dumps(dict(job.metrics)) if job.metrics else None,
        "metadata": dict(job.metadata) or None,
        "report_channel": job.report_channel.value if job.report_channel else None,
        "cost": _record_from_cost(job.cost) if job.cost else None,
        "fallbacks": [_record_from_fallback(fallback) for fallback in job.fallbacks] or None,
        "fallback_causes": [cause.value for cause in job.fallback_causes] or None,
        "input_fields": json.dumps(dict(job.input_fields)) if job.input_fields else None,
        "reservation": _record_from_reservation(job.reservation) if job.reservation else None,
        "warnings": list(job.warnings) or None,
        "waiting": _record_from_waiting(job.waiting) if job.waiting else None,
        "limits": list(job.limits) or None,
        "past_attempts": [_record_from_past_attempt(past) for past in job.past_attempts] or None,
        "timeline": {step.value: format_timestamp(time) for step, time in job.timeline.items()},
        "list_name": JOB_LIST,
        "outcome": job.status.value if job.status in LISTED_OUTCOMES else None,
        "end_reason": job.end_reason.value if job.end_reason else None,
        **{name: format_optional_timestamp(getattr(job, name)) for name in _TIMESTAMPS},
        **{name: _record_from_document(getattr(job, name)) for name in _DOCUMENTS},
        **{name: getattr(job, name) for name in _PLAIN_VALUES},
        "replicate_account": job.replicate_account or None,
        "deletes_files": job.deletes_files or None,
        **due_attributes,
    }


def is_deletion(record: Mapping[str, Any]) -> bool:
    """Return whether the record of a job is that of its deletion, which reads do not find."""
    return record.get("status") == DELETED


def job_from_record(record: Mapping[str, Any]) -> Job:
    values = {
        name: parse(value)
        for name, value in record.items()
        if value is not None and (parse := _PARSERS.get(name)) is not None
    }
    if values["status"] in TERMINAL_STATUSES:
        # The time of its deletion: nothing checks an ended job.
        values.pop("next_check_at", None)
    return Job(**values)


def _parse_object(text: str) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(text)
    return parsed


def _record_from_submission(submission: Submission) -> dict[str, str]:
    values = {
        "kind": submission.kind.value,
        "version": submission.version,
        "owner": submission.owner,
        "name": submission.name,
    }
    return {name: value for name, value in values.items() if value is not None}


def _submission_from_record(record: Mapping[str, str]) -> Submission:
    return Submission(
        kind=SubmissionKind(record["kind"]),
        version=record.get("version"),
        owner=record.get("owner"),
        name=record.get("name"),
    )


def _record_from_document(document: Document | None) -> dict[str, str] | None:
    if document is None:
        return None
    if document.object_key is not None:
        digest = {"digest": document.digest} if document.digest is not None else {}
        return {"object_key": document.object_key, **digest}
    return {"text": document.text or "null"}


def _document_from_record(record: Mapping[str, str]) -> Document:
    return Document(text=record.get("text"), object_key=record.get("object_key"), digest=record.get("digest"))


def _record_from_fallback(fallback: Fallback) -> dict[str, Any]:
    values = {
        "submission": _record_from_submission(fallback.submission),
        # As text, since field names can be empty.
        "fields": json.dumps(dict(fallback.fields)),
        "price": fallback.price,
    }
    return {name: value for name, value in values.items() if value is not None}


def _fallback_from_record(record: Mapping[str, Any]) -> Fallback:
    return Fallback(
        submission=_submission_from_record(record["submission"]),
        fields=_parse_object(record["fields"]),
        price=record.get("price"),
    )


def _record_from_cost(cost: Cost) -> dict[str, Any]:
    """Return the fields that have a value."""
    return {name: value for name, value in asdict(cost).items() if value is not None and value != ""}


def _cost_from_record(record: Mapping[str, Any]) -> Cost:
    return build_from_stored(Cost, record)


def _record_from_reservation(reservation: Reservation) -> dict[str, Any]:
    return {"micro_usd": reservation.micro_usd, "windows": list(reservation.windows)}


def _reservation_from_record(record: Mapping[str, Any]) -> Reservation:
    return Reservation(record["micro_usd"], tuple(record["windows"]))


def _record_from_waiting(waiting: Waiting) -> dict[str, Any]:
    """Return the fields that have a value."""
    values = {**asdict(waiting), "until": format_optional_timestamp(waiting.until)}
    return {name: value for name, value in values.items() if value is not None and value != ""}


def _waiting_from_record(record: Mapping[str, Any]) -> Waiting:
    parsed = {
        "reason": WaitReason(record["reason"]),
        "until": parse_optional_timestamp(record.get("until")),
    }
    return build_from_stored(Waiting, record, **parsed)


def _record_from_past_attempt(past: PastAttempt) -> dict[str, Any]:
    return {
        "attempt": past.attempt,
        "outcome": past.outcome.value,
        "replicate_id": past.replicate_id,
        "error": past.error,
        "ended_at": format_timestamp(past.ended_at),
        "target": past.target,
        "cost": _record_from_cost(past.cost) if past.cost else None,
    }


def _past_attempt_from_record(record: Mapping[str, Any]) -> PastAttempt:
    return PastAttempt(
        attempt=record["attempt"],
        outcome=AttemptOutcome(record["outcome"]),
        replicate_id=record.get("replicate_id"),
        error=record["error"],
        ended_at=parse_timestamp(record["ended_at"]),
        target=record.get("target"),
        cost=_cost_from_record(record["cost"]) if record.get("cost") else None,
    )


def _parse_timeline(record: Mapping[str, str]) -> dict[TimelineStep, datetime]:
    return {TimelineStep(step): parse_timestamp(time) for step, time in record.items()}


def _keep(value: Any) -> Any:
    return value


# How each attribute of a record becomes the field of a job that has the same name.
_PARSERS: Mapping[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("tenant", "id", "revision", "correlation_id", "public_base_url"), _keep),
    **dict.fromkeys(_PLAIN_VALUES, _keep),
    **dict.fromkeys(("created_at", *_TIMESTAMPS), parse_timestamp),
    **dict.fromkeys(("input", *_DOCUMENTS), _document_from_record),
    **dict.fromkeys(("image_options", "metrics", "input_fields"), _parse_object),
    **dict.fromkeys(("webhook_events", "warnings", "limits"), tuple),
    "status": JobStatus,
    "submission": _submission_from_record,
    "metadata": dict,
    "replicate_account": _keep,
    "deletes_files": _keep,
    "report_channel": ReportChannel,
    "cost": _cost_from_record,
    "end_reason": EndReason,
    "fallbacks": lambda fallbacks: tuple(map(_fallback_from_record, fallbacks)),
    "fallback_causes": lambda causes: tuple(map(FallbackCause, causes)),
    "reservation": _reservation_from_record,
    "waiting": _waiting_from_record,
    "past_attempts": lambda attempts: tuple(map(_past_attempt_from_record, attempts)),
    "timeline": _parse_timeline,
}
