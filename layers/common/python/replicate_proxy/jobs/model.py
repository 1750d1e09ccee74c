"""A job: one prediction request on its way, from the caller's POST to the final output.

Several predictions asked for in one request.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime


class JobStatus(StrEnum):
    """Where a job is; docs/architecture.md has the picture, `jobs.state` the transitions."""

    QUEUED = "queued"
    SUBMITTING = "submitting"
    SUBMIT_UNKNOWN = "submit_unknown"
    SUBMITTED = "submitted"
    PROCESSING = "processing"
    HARVESTING = "harvesting"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"


TERMINAL = frozenset({JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELED})
ACTIVE = frozenset(JobStatus) - TERMINAL


class SubmissionKind(StrEnum):
    """Which of Replicate's three create endpoints a job goes to."""

    VERSION = "predictions"
    MODEL = "models"
    DEPLOYMENT = "deployments"


@dataclass(frozen=True, slots=True)
class Submission:
    """What to create on Replicate: by `version` reference, by official model, or by deployment
    (`owner`/`name`).
    """

    kind: SubmissionKind
    version: str | None = None
    owner: str | None = None
    name: str | None = None

    @property
    def model(self) -> str:
        """`owner/name` as far as the request tells; empty for a bare version id."""
        if self.owner and self.name:
            return f"{self.owner}/{self.name}"
        reference = self.version or ""
        return reference.partition(":")[0] if "/" in reference else ""

    @property
    def version_id(self) -> str:
        """The version as replies show it: an id, or `hidden` where the model has no versions (OpenAPI
        document).
        """
        reference = self.version or ""
        if ":" in reference:
            return reference.partition(":")[2]
        return reference if reference and "/" not in reference else "hidden"


@dataclass(frozen=True, slots=True)
class Document:
    """A JSON value kept with the job: as text in the item itself, or (large) under an object key."""

    text: str | None = None
    ref: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """The whole record. `rev` grows by one with each save and guards it; times are UTC; `timeline` has one
    time a hop.

    `due_at` is when the sweep must look at the job even if nothing else happens; None once the job is
    terminal.
    """

    tenant: str
    id: str
    status: JobStatus
    created_at: datetime
    submission: Submission
    input: Document
    correlation_id: str
    base_url: str
    rev: int = 0
    due_at: datetime | None = None
    key_id: str = ""
    batch_id: str | None = None
    webhook: str | None = None
    webhook_events: tuple[str, ...] | None = None
    image_options: Mapping[str, Any] = field(default_factory=dict)
    deadline: datetime | None = None
    # The attempt on Replicate that is under way, and what came of those before it.
    attempt: int = 1
    past_attempts: tuple[Mapping[str, Any], ...] = ()
    lease_until: datetime | None = None
    sent_at: datetime | None = None
    releases: int = 0
    checks: int = 0
    replicate_id: str | None = None
    reported_via: str | None = None
    model: str | None = None
    version: str | None = None
    cancel_requested_at: datetime | None = None
    # What Replicate said, and what we made of it.
    started_at: datetime | None = None
    completed_at: datetime | None = None
    replicate_status: str | None = None
    source_output: Document | None = None
    output: Document | None = None
    files: Document | None = None
    logs: Document | None = None
    error: str | None = None
    metrics: Mapping[str, Any] = field(default_factory=dict)
    timeline: Mapping[str, str] = field(default_factory=dict)
    expires_at: int | None = None

    @property
    def is_terminal(self) -> bool:
        return self.status in TERMINAL


# Batch and jobs are written in one transaction, which holds 100 items and 4 MB (Amazon DynamoDB, "Amazon
# DynamoDB Transactions: How it works"); a job takes a few kilobytes, since larger inputs lie in S3.
LARGEST_BATCH = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What was asked for together. Never changes: where its jobs are is in the jobs."""

    tenant: str
    id: str
    created_at: datetime
    base_url: str
    job_ids: tuple[str, ...]
    expires_at: int | None = None
