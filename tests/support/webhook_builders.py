"""Build jobs, endpoints, deliveries and attempts, with a default for every field."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from replicate_proxy.jobs.model import Document, Job, JobStatus, Submission, SubmissionKind
from replicate_proxy.webhooks.endpoints import Endpoint
from replicate_proxy.webhooks.model import (
    PREDICTION_TARGET,
    Attempt,
    AttemptResult,
    Delivery,
    ErrorCode,
    EventKind,
)
from replicate_proxy.webhooks.signing_secrets import generate_signing_secret
from tests.support.clock import NOW

TENANT = "acme"
JOB_ID = "01kgahp2x3m4n5p6q7r8s9t0va"
WEBHOOK_URL = "https://app.example/hook"


def make_job(**changes: Any) -> Job:
    """Return a queued job whose webhook has the default event filter."""
    fields: dict[str, Any] = {
        "tenant": TENANT,
        "id": JOB_ID,
        "status": JobStatus.QUEUED,
        "created_at": NOW,
        "submission": Submission(SubmissionKind.MODEL, owner="black-forest-labs", name="flux-schnell"),
        "input": Document(text='{"prompt":"a lighthouse"}'),
        "correlation_id": "req-1",
        "public_base_url": "https://proxy.example/prod",
        "revision": 1,
        "webhook": WEBHOOK_URL,
    }
    return Job(**{**fields, **changes})


def as_processing(job: Job, **changes: Any) -> Job:
    """Return the next record of the job, with Replicate running it."""
    return replace(job, status=JobStatus.PROCESSING, started_at=NOW, revision=job.revision + 1, **changes)


def as_succeeded(job: Job, **changes: Any) -> Job:
    """Return the next record of the job, with its final output as harvest stores it."""
    fields: dict[str, Any] = {
        "status": JobStatus.SUCCEEDED,
        "revision": job.revision + 1,
        "started_at": job.started_at or NOW,
        "completed_at": NOW + timedelta(seconds=3),
        "output": Document(text='["https://cdn.example/outputs/1.webp"]'),
        "metrics": {"predict_time": 1.5},
    }
    return replace(job, **{**fields, **changes})


def make_endpoint(**changes: Any) -> Endpoint:
    """Return an enabled endpoint for all events; `events` may be given as text."""
    fields: dict[str, Any] = {
        "tenant": TENANT,
        "id": "ep_01kgahp2x3m4n5p6q7r8s9t0vb",
        "url": "https://app.example/all",
        "secrets": (generate_signing_secret(NOW),),
        "created_at": NOW,
        "updated_at": NOW,
    }
    endpoint = Endpoint(**{**fields, **changes})
    return replace(endpoint, events=tuple(EventKind(kind) for kind in endpoint.events))


def make_delivery(**changes: Any) -> Delivery:
    """Return a pending delivery to the prediction's own webhook."""
    fields: dict[str, Any] = {
        "tenant": TENANT,
        "job_id": JOB_ID,
        "sequence": 7,
        "target": PREDICTION_TARGET,
        "kind": EventKind.COMPLETED,
        "message_id": "msg_1",
        "url": WEBHOOK_URL,
        "created_at": NOW,
        "schedule_started_at": NOW,
        "next_attempt_at": NOW,
        "due_at": NOW + timedelta(minutes=5),
        "expires_at": 2_000_000_000,
    }
    return Delivery(**{**fields, **changes})


def make_attempt(**changes: Any) -> Attempt:
    """Return the first attempt of `make_delivery`, rejected with a 500."""
    fields: dict[str, Any] = {
        "tenant": TENANT,
        "job_id": JOB_ID,
        "sequence": 7,
        "target": PREDICTION_TARGET,
        "number": 1,
        "sent_at": NOW,
        "result": AttemptResult.REJECTED,
        "duration_ms": 12,
        "status": 500,
        "error_code": ErrorCode.SERVER_ERROR,
        "response_body": "sorry",
        "next_attempt_at": NOW + timedelta(seconds=5),
        "expires_at": 2_000_000_000,
    }
    return Attempt(**{**fields, **changes})
