"""What pages show of jobs: rows of lists, and the parts of one job's page."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from replicate_proxy.console.formatting import find_safe_url, summarize_input
from replicate_proxy.errors import NotFoundError, RetryableError
from replicate_proxy.jobs.model import Document, Job, JobStatus, Submission, SubmissionKind, WaitReason
from replicate_proxy.operations.job_story import StoryEventKind
from replicate_proxy.parallel import map_in_parallel

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from replicate_proxy.operations.job_story import JobStory, StoryEvent
    from replicate_proxy.services.rendering import PredictionRenderer

_MAX_SUMMARY_CHARACTERS = 160
_MAX_THUMBNAILS = 3

STATUS_KINDS: Mapping[str, str] = {
    JobStatus.QUEUED: "waiting",
    JobStatus.SUBMITTING: "waiting",
    JobStatus.SUBMIT_UNKNOWN: "trouble",
    JobStatus.SUBMITTED: "active",
    JobStatus.PROCESSING: "active",
    JobStatus.HARVESTING: "active",
    JobStatus.SUCCEEDED: "good",
    JobStatus.FAILED: "bad",
    JobStatus.CANCELED: "ended",
}
"""How the badge of a status looks."""


WAIT_TEXTS: Mapping[str, str] = {
    WaitReason.CONCURRENCY_LIMIT: "It waits for a slot of a concurrency limit",
    WaitReason.OPERATOR_PAUSE: "Predictions are paused",
    WaitReason.RATE_LIMIT: "The rate limit of creates is used up",
    WaitReason.CIRCUIT_OPEN: "Replicate fails, so the circuit breaker is open",
    WaitReason.TOKEN_REJECTED: "Replicate rejects the token of the account",
    WaitReason.NOT_ACCEPTED: "Replicate did not accept the request",
    WaitReason.CONFIGURATION: "An operator has to correct a setting",
}
"""Why a queued job waits."""

_UNKNOWN_OUTCOME = "It is not known whether Replicate accepted the request"

_STORY_LOOKS = {
    "step": "waiting",
    "attempt": "trouble",
    "cancel": "trouble",
    "file": "good",
    "operator": "trouble",
}
_FILE_DETAILS = frozenset(
    {
        "path",
        "content_type",
        "bytes_before",
        "bytes_after",
        "width",
        "height",
        "quality",
        "score",
        "reason",
    }
)
_EMPTY: tuple[Any, ...] = (None, "", [], {})


@dataclass(frozen=True, slots=True)
class JobRow:
    """A row of a list. `seconds` is how long the job took, or has been going on."""

    tenant: str
    id: str
    model: str
    status: str
    kind: str
    created_at: datetime
    seconds: float
    micro_usd: int | None
    summary: str
    error: str
    wait_text: str
    thumbnails: tuple[str, ...]


def build_job_rows(
    jobs: Sequence[Job], renderer: PredictionRenderer, images_url: str, now: datetime
) -> list[JobRow]:
    """Return the rows. Large inputs are not read for them; file records, which have the thumbnails, are."""
    files = map_in_parallel(lambda job: _load_files(job, renderer), jobs)
    return [_build_row(job, records, images_url, now) for job, records in zip(jobs, files, strict=True)]


def build_story(story: JobStory) -> dict[str, Any]:
    """Return the story for a page: times after the acceptance, and what is known of each event."""
    return {
        "id": story.job.id,
        "events": [
            {
                "at": event.at,
                "seconds": max((event.at - story.job.created_at) / timedelta(seconds=1), 0),
                "kind": event.kind.value,
                "look": _STORY_LOOKS.get(event.kind.value, ""),
                "name": event.name,
                "details": _list_details(event),
            }
            for event in story.events
        ],
        "log_groups": story.logs.log_groups,
        "query": story.logs.query,
    }


def name_model(job: Job) -> str:
    return job.model or job.submission.model_name or job.submission.version_id


def describe_wait(job: Job) -> str:
    """Return why the job is not at Replicate yet, nothing where it is, or no reason is known."""
    if job.status is JobStatus.SUBMIT_UNKNOWN:
        return _UNKNOWN_OUTCOME
    return WAIT_TEXTS[job.wait_reason] if job.wait_reason else ""


def find_ran_seconds(job: Job, now: datetime) -> float:
    """Return the time from the acceptance to the end, or to now."""
    end = max(job.timeline.values(), default=job.created_at) if job.is_terminal else now
    return max((end - job.created_at) / timedelta(seconds=1), 0)


def find_image(url: Any, images_url: str) -> str:
    """Return the URL if it is on the host of our own files, whose images pages may show."""
    parts, own = urlsplit(find_safe_url(url)), urlsplit(images_url)
    is_own = parts.netloc == own.netloc or (
        own.netloc.startswith("*.") and parts.netloc.endswith(own.netloc.removeprefix("*"))
    )
    return str(url) if parts.netloc and parts.scheme == own.scheme and is_own else ""


def find_requested_submission(job: Job) -> Submission:
    """Return what the caller asked for: the model of an entry, even if it runs another one."""
    if job.requested_model and "/" in job.requested_model:
        owner, _, name = job.requested_model.partition("/")
        return Submission(kind=SubmissionKind.MODEL, owner=owner, name=name)
    return job.submission


def _build_row(job: Job, records: Iterable[Any], images_url: str, now: datetime) -> JobRow:
    images = [find_image(record.get("thumbnail_url"), images_url) for record in records]
    return JobRow(
        tenant=job.tenant,
        id=job.id,
        model=name_model(job),
        status=job.status.value,
        kind=STATUS_KINDS[job.status],
        created_at=job.created_at,
        seconds=find_ran_seconds(job, now),
        micro_usd=job.cost.micro_usd if job.cost else None,
        summary=summarize_input(_read_inline(job.input))[:_MAX_SUMMARY_CHARACTERS],
        error=(job.error or "")[:_MAX_SUMMARY_CHARACTERS],
        wait_text=describe_wait(job),
        thumbnails=tuple(filter(None, images))[:_MAX_THUMBNAILS],
    )


def _list_details(event: StoryEvent) -> list[tuple[str, str]]:
    """Return what is known of the event. A file's address and hashes are in its panel and in the JSON."""
    return [
        (name, _format_detail(value))
        for name, value in event.details.items()
        if value not in _EMPTY and (event.kind is not StoryEventKind.FILE or name in _FILE_DETAILS)
    ]


def _format_detail(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text[:_MAX_SUMMARY_CHARACTERS]


def _read_inline(document: Document | None) -> Any:
    return json.loads(document.text) if document is not None and document.text else None


def _load_files(job: Job, renderer: PredictionRenderer) -> list[dict[str, Any]]:
    if job.files is None:
        return []
    try:
        return renderer.load_files(job)
    except (NotFoundError, RetryableError):
        return []
