"""Keys of the jobs table, and a job as its record. Pure.

| pk                      | sk       | what                                                        |
|-------------------------|----------|-------------------------------------------------------------|
| JOB#<tenant>#<id>       | JOB      | the job; also in `by_tenant` (tenant, id) and `by_due`      |
| BATCH#<tenant>#<id>     | BATCH    | jobs that were asked for together                           |
| IDEM#<tenant>#<hash>    | IDEM     | an idempotency key and the job or batch it became           |
| UPSTREAM#<replicate id> | UPSTREAM | which job a prediction on Replicate belongs to              |

The tenant is part of the key, so that a read for another tenant's job finds nothing rather than something to
refuse.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from replicate_proxy.clock import (
    format_optional_timestamp,
    format_timestamp,
    parse_optional_timestamp,
    parse_timestamp,
)
from replicate_proxy.jobs.model import (
    AttemptOutcome,
    Document,
    Job,
    JobStatus,
    PastAttempt,
    ReportChannel,
    Submission,
    SubmissionKind,
    TimelineStep,
)

if TYPE_CHECKING:
    from collections.abc import Mapping


# The due index is written by every transition; eight partitions carry 8,000 writes a second.
DUE_SHARD_COUNT = 8

_TIMES = (
    "next_check_at",
    "deadline",
    "lease_until",
    "create_sent_at",
    "cancel_requested_at",
    "started_at",
    "completed_at",
)
_DOCUMENTS = ("replicate_output", "output", "files", "logs")
_PLAIN = (
    "key_id",
    "batch_id",
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
)


def job_key(tenant: str, job_id: str) -> dict[str, str]:
    return {"pk": f"JOB#{tenant}#{job_id}", "sk": "JOB"}


def batch_key(tenant: str, batch_id: str) -> dict[str, str]:
    return {"pk": f"BATCH#{tenant}#{batch_id}", "sk": "BATCH"}


def idempotency_key(tenant: str, key: str) -> dict[str, str]:
    return {"pk": f"IDEM#{tenant}#{hashlib.sha256(key.encode()).hexdigest()}", "sk": "IDEM"}


def prediction_owner_key(replicate_id: str) -> dict[str, str]:
    return {"pk": f"UPSTREAM#{replicate_id}", "sk": "UPSTREAM"}


def due_shard(job_id: str) -> str:
    """The partition of the due index, by the id's random end."""
    return f"DUE#{int(job_id[-1], 36) % DUE_SHARD_COUNT}"


def record_from_job(job: Job) -> dict[str, Any]:
    """The job as a flat record for `dynamo.to_item`; None stands for an absent attribute."""
    submission = {"kind": job.submission.kind.value, **_known(job.submission)}
    return {
        **job_key(job.tenant, job.id),
        "tenant": job.tenant,
        "id": job.id,
        "status": job.status.value,
        "revision": job.revision,
        "created_at": format_timestamp(job.created_at),
        "submission": submission,
        "input": _document_record(job.input),
        "correlation_id": job.correlation_id,
        "public_base_url": job.public_base_url,
        "webhook_events": list(job.webhook_events) if job.webhook_events is not None else None,
        "image_options": json.dumps(dict(job.image_options)) if job.image_options else None,
        "metrics": json.dumps(dict(job.metrics)) if job.metrics else None,
        "report_channel": job.report_channel.value if job.report_channel else None,
        "past_attempts": [_past_attempt_record(past) for past in job.past_attempts] or None,
        "timeline": {step.value: format_timestamp(time) for step, time in job.timeline.items()},
        "due_shard": due_shard(job.id) if job.next_check_at else None,
        **{name: format_optional_timestamp(getattr(job, name)) for name in _TIMES},
        **{name: _document_record(getattr(job, name)) for name in _DOCUMENTS},
        **{name: getattr(job, name) for name in _PLAIN},
    }


def job_from_record(record: Mapping[str, Any]) -> Job:
    """The job behind a record as `dynamo.from_item` gives it."""
    submission = record["submission"]
    events = record.get("webhook_events")
    others: dict[str, Any] = {
        **{name: parse_optional_timestamp(record.get(name)) for name in _TIMES},
        **{name: _document(record.get(name)) for name in _DOCUMENTS},
        **{name: record[name] for name in _PLAIN if name in record},
    }
    return Job(
        tenant=record["tenant"],
        id=record["id"],
        status=JobStatus(record["status"]),
        revision=record["revision"],
        created_at=parse_timestamp(record["created_at"]),
        submission=Submission(
            kind=SubmissionKind(submission["kind"]),
            version=submission.get("version"),
            owner=submission.get("owner"),
            name=submission.get("name"),
        ),
        input=_document(record["input"]) or Document(),
        correlation_id=record["correlation_id"],
        public_base_url=record["public_base_url"],
        webhook_events=tuple(events) if events is not None else None,
        image_options=json.loads(record.get("image_options") or "{}"),
        metrics=json.loads(record.get("metrics") or "{}"),
        report_channel=ReportChannel(record["report_channel"]) if record.get("report_channel") else None,
        past_attempts=tuple(_past_attempt(past) for past in record.get("past_attempts") or ()),
        timeline={TimelineStep(step): parse_timestamp(time) for step, time in record["timeline"].items()},
        **others,
    )


def _known(submission: Submission) -> dict[str, str]:
    names = ("version", "owner", "name")
    return {name: getattr(submission, name) for name in names if getattr(submission, name) is not None}


def _document_record(document: Document | None) -> dict[str, str] | None:
    if document is None:
        return None
    return (
        {"object_key": document.object_key}
        if document.object_key is not None
        else {"text": document.text or "null"}
    )


def _document(record: Mapping[str, str] | None) -> Document | None:
    if record is None:
        return None
    return Document(text=record.get("text"), object_key=record.get("object_key"))


def _past_attempt_record(past: PastAttempt) -> dict[str, Any]:
    return {
        "attempt": past.attempt,
        "outcome": past.outcome.value,
        "replicate_id": past.replicate_id,
        "error": past.error,
        "ended_at": format_timestamp(past.ended_at),
    }


def _past_attempt(record: Mapping[str, Any]) -> PastAttempt:
    return PastAttempt(
        attempt=record["attempt"],
        outcome=AttemptOutcome(record["outcome"]),
        replicate_id=record.get("replicate_id"),
        error=record["error"],
        ended_at=parse_timestamp(record["ended_at"]),
    )
