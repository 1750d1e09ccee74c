"""Builders of jobs, reports and API Gateway events, with defaults for the fields a test does not name."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from replicate_proxy.batches.model import LargeBatch
from replicate_proxy.ids import generate_id
from replicate_proxy.jobs.changes import Reported
from replicate_proxy.jobs.model import (
    TERMINAL_STATUSES,
    Batch,
    Document,
    Job,
    JobStatus,
    ReportChannel,
    Submission,
    SubmissionKind,
    TimelineStep,
)
from tests.support.clock import NOW

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

VERSION = "5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa"
TENANT = "acme"
BASE_URL = "https://proxy.test/prod"
OUTPUT = Document(text='"https://replicate.delivery/a.png"')
STATUSES_WITH_PREDICTION = frozenset({JobStatus.SUBMITTED, JobStatus.PROCESSING, JobStatus.HARVESTING})


def make_job(status: JobStatus = JobStatus.QUEUED, **fields: Any) -> Job:
    """Return a job of tenant acme, created at NOW, to be checked in two minutes; its prediction is `p1`."""
    job_id = fields.pop("id", None) or generate_id(fields.get("created_at", NOW))
    defaults: dict[str, Any] = {
        "tenant": TENANT,
        "created_at": NOW,
        "submission": Submission(kind=SubmissionKind.VERSION, version=VERSION),
        "input": Document(text=json.dumps({"prompt": "a cat"})),
        "correlation_id": "c-1",
        "public_base_url": BASE_URL,
        "revision": 1,
        "next_check_at": None if status in TERMINAL_STATUSES else NOW + timedelta(minutes=2),
        "replicate_id": "p1" if status in STATUSES_WITH_PREDICTION else None,
        "create_sent_at": NOW if status in {JobStatus.SUBMITTING, JobStatus.SUBMIT_UNKNOWN} else None,
        "replicate_output": OUTPUT if status is JobStatus.HARVESTING else None,
        "timeline": {TimelineStep.ACCEPTED: NOW},
    }
    return Job(id=job_id, status=status, **{**defaults, **fields})


def make_large_batch(tenant: str = TENANT, *, created_at: datetime = NOW, **fields: Any) -> Batch:
    """Return a large batch with this `id` that is due at its creation; other fields are of its state."""
    return Batch(
        tenant=tenant,
        id=fields.pop("id", None) or generate_id(created_at),
        created_at=created_at,
        public_base_url=BASE_URL,
        large=LargeBatch(
            input_file=generate_id(created_at),
            object_key=f"files/{tenant}/f",
            size_bytes=100,
            key_id="key-1",
            models=(),
            correlation_id="c-1",
            due_at=created_at,
            delete_at=created_at + timedelta(days=30),
            **fields,
        ),
    )


def make_report(status: str, **fields: Any) -> Reported:
    """Return a report about attempt 1 of a job, prediction `p1`."""
    defaults: dict[str, Any] = {"attempt": 1, "replicate_id": "p1", "channel": ReportChannel.WEBHOOK}
    if status == "succeeded":
        defaults["output"] = OUTPUT
    if status == "failed":
        defaults["error"] = "bad input"
    return Reported(status=status, **{**defaults, **fields})


def make_event(  # noqa: PLR0913 - an event has many parts, and each test names only a few
    method: str = "GET",
    resource: str = "/v1/predictions",
    *,
    stage: str = "prod",
    params: Mapping[str, str] | None = None,
    query: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    body: Any = None,
    scopes: str = "predictions:read predictions:write",
    tenant: str = TENANT,
    **extra: Any,
) -> dict[str, Any]:
    """Return an event of API Gateway's REST proxy integration."""
    path = resource
    for name, value in (params or {}).items():
        path = path.replace(f"{{{name}}}", value)
    return {
        "httpMethod": method,
        "resource": resource,
        "path": path,
        "pathParameters": dict(params) if params else None,
        "queryStringParameters": dict(query) if query else None,
        "headers": {"X-Forwarded-Proto": "https", **(headers or {})},
        "body": body if isinstance(body, str) or body is None else json.dumps(body),
        "isBase64Encoded": False,
        "requestContext": {
            "domainName": "proxy.test",
            "stage": stage,
            "path": f"/{stage}{path}".rstrip("/") or "/",
            "requestId": "request-1",
            "authorizer": {"tenant": tenant, "key_id": "key-1", "scopes": scopes},
        },
        **extra,
    }
