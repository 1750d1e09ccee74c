"""The prediction as our API shows it: Replicate's own shape, with one extra field `proxy`. Pure.

What clients depend on (found by experiment with the official ones): `id`, `model`, `version`, `status` are
never null; values of `urls` are absolute strings on our origin; only Replicate's status words appear;
`output` stays null until all of it is final; after a `Prefer: wait` that ended early the status must read
`starting`.

A batch as our API shows it. Pure. Replicate has no such thing, so the shape is ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from replicate_proxy.clock import format_timestamp
from replicate_proxy.jobs.model import Job, JobStatus

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from replicate_proxy.jobs.model import Batch, PastAttempt


PREDICTION_STATUS: Mapping[JobStatus, str] = {
    JobStatus.QUEUED: "starting",
    JobStatus.SUBMITTING: "starting",
    JobStatus.SUBMIT_UNKNOWN: "starting",
    JobStatus.SUBMITTED: "starting",
    JobStatus.PROCESSING: "processing",
    JobStatus.HARVESTING: "processing",
    JobStatus.SUCCEEDED: "succeeded",
    JobStatus.FAILED: "failed",
    JobStatus.CANCELED: "canceled",
}


def build_prediction_view(
    job: Job,
    *,
    input: Any,  # noqa: A002 - the field's own name
    output: Any = None,
    logs: Any = None,
    files: Any = None,
    wait_expired: bool = False,
) -> dict[str, Any]:
    """The prediction object. `still_waiting`: the caller asked to wait and the answer is not final."""
    status = PREDICTION_STATUS[job.status]
    here = f"{job.public_base_url}/v1/predictions/{job.id}"
    view: dict[str, Any] = {
        "id": job.id,
        "model": job.model or job.submission.model_name,
        "version": job.version or job.submission.version_id,
        "input": input,
        "output": output if job.status is JobStatus.SUCCEEDED else None,
        "logs": logs or "",
        "error": job.error,
        "status": "starting" if wait_expired and status == "processing" else status,
        "created_at": format_timestamp(job.created_at),
        "data_removed": False,
        "source": "api",
        "urls": {"get": here, "cancel": f"{here}/cancel", "web": here},
        **_where_known(job),
        "proxy": _proxy(job, files),
    }
    if job.is_terminal:
        view["metrics"] = _metrics(job)
    return view


def _where_known(job: Job) -> dict[str, Any]:
    known: dict[str, Any] = {}
    if job.started_at:
        known["started_at"] = format_timestamp(job.started_at)
    if job.is_terminal and job.completed_at:
        known["completed_at"] = format_timestamp(job.completed_at)
    if job.deadline:
        known["deadline"] = format_timestamp(job.deadline)
    if job.webhook:
        known["webhook"] = job.webhook
    if job.webhook_events is not None:
        known["webhook_events_filter"] = list(job.webhook_events)
    if job.submission.kind == "deployments":
        known["deployment"] = job.submission.model_name
    return known


def _metrics(job: Job) -> dict[str, Any]:
    total = (job.completed_at - job.created_at).total_seconds() if job.completed_at else 0.0
    return {"total_time": max(total, 0.0), **job.metrics}


def _proxy(job: Job, files: Any) -> dict[str, Any]:
    batch = {"batch_id": job.batch_id} if job.batch_id else {}
    return {
        "status": job.status.value,
        **batch,
        "timeline": {step.value: format_timestamp(time) for step, time in job.timeline.items()},
        "attempt": job.attempt,
        "past_attempts": [_build_past_attempt(past) for past in job.past_attempts],
        "replicate_id": job.replicate_id,
        "replicate_status": job.replicate_status,
        "report_channel": job.report_channel,
        "files": files or [],
    }


def _build_past_attempt(past: PastAttempt) -> dict[str, Any]:
    return {
        "attempt": past.attempt,
        "outcome": past.outcome.value,
        "replicate_id": past.replicate_id,
        "error": past.error,
        "ended_at": format_timestamp(past.ended_at),
    }


def build_batch_view(
    batch: Batch, jobs: Sequence[Job], predictions: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """The batch object. `predictions` are the jobs as rendered, from the first on, as many as a reply holds;
    the rest is told by id, status and address.
    """
    counts = dict.fromkeys(PREDICTION_STATUS.values(), 0)
    for job in jobs:
        counts[PREDICTION_STATUS[job.status]] += 1
    here = f"{batch.public_base_url}/v1/batches/{batch.id}"
    view: dict[str, Any] = {
        "id": batch.id,
        "status": "processing",
        "created_at": format_timestamp(batch.created_at),
        "total": len(batch.job_ids),
        "counts": counts,
        "predictions": [*predictions, *(_short(job) for job in jobs[len(predictions) :])],
        "urls": {"get": here, "cancel": f"{here}/cancel"},
    }
    ends = [job.completed_at for job in jobs if job.is_terminal and job.completed_at]
    if all(job.is_terminal for job in jobs):
        view["status"] = "completed"
        view["completed_at"] = format_timestamp(max(ends, default=batch.created_at))
    return view


def _short(job: Job) -> dict[str, Any]:
    here = f"{job.public_base_url}/v1/predictions/{job.id}"
    return {
        "id": job.id,
        "status": PREDICTION_STATUS[job.status],
        "created_at": format_timestamp(job.created_at),
        "urls": {"get": here, "cancel": f"{here}/cancel"},
        "proxy": {"omitted": ["input", "logs", "output"]},
    }
