"""The JSON shapes of predictions and batches in our API.

A *job* is our record of one create request; a *prediction* is Replicate's word for the same thing, and the
one that our API uses. The ID of a prediction in our API is the job's ID; the ID of the prediction at
Replicate is in `proxy.replicate_id`.

The shape of a prediction is Replicate's own, with one more field, `proxy`. Replicate's official clients
depend on the following (found by running them):

* `id`, `model`, `version` and `status` are never null, and `status` is one of Replicate's words.
* The values of `urls` are absolute URLs on our origin.
* `output` is missing until there is one: LiteLLM takes its presence as the first output
  (docs/decisions/0028-output-is-missing-until-final.md).
* `output` refers to files only once it is final: the AI SDK takes any output as the result.
* After a `Prefer: wait` that expired, `status` is `starting`, without output.

Replicate has no batches; their shape is ours.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from replicate_proxy.clock import format_timestamp
from replicate_proxy.contracts.log_progress import parse_progress
from replicate_proxy.costs.money import format_usd
from replicate_proxy.jobs.model import Job, JobStatus

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from replicate_proxy.jobs.model import Account, Batch, Cost, PastAttempt, Waiting


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
"""The status that a prediction shows for the status of its job."""

_BEFORE_SUBMISSION = frozenset({JobStatus.QUEUED, JobStatus.SUBMITTING, JobStatus.SUBMIT_UNKNOWN})


def build_prediction_view(
    job: Job,
    *,
    input: Any,  # noqa: A002 - the field's own name
    output: Any = None,
    partial_output: Any = None,
    logs: Any = None,
    files: Any = None,
    wait_expired: bool = False,
) -> dict[str, Any]:
    """Return the prediction. `wait_expired`: a `Prefer: wait` ended before the job was final."""
    status = PREDICTION_STATUS[job.status]
    view: dict[str, Any] = {
        "id": job.id,
        # Never empty: clients show it. A version whose model is not known yet stands for itself.
        "model": job.model or job.submission.model_name or job.submission.version_id,
        "version": job.version or job.submission.version_id,
        "input": input,
        "logs": logs or "",
        "error": job.error,
        "status": "starting" if wait_expired and status == "processing" else status,
        "created_at": format_timestamp(job.created_at),
        "data_removed": False,
        "source": "api",
        "urls": {**_build_urls(job), "web": _build_page_url(job)},
        **_build_optional_fields(job),
        "proxy": _build_proxy_field(job, files, logs),
    }
    if job.is_terminal:
        view["output"] = output
        view["metrics"] = _build_metrics(job)
    elif partial_output is not None and not wait_expired:
        view["output"] = partial_output
    return view


def build_batch_view(
    batch: Batch, jobs: Sequence[Job], predictions: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return the batch.

    `predictions` are the rendered jobs, from the first on, as many as a response holds; the other jobs are
    shown with ID, status and URLs only.
    """
    shown = [*predictions, *(_build_short_view(job) for job in jobs[len(predictions) :])]
    return {**build_batch_summary(batch, jobs), "predictions": shown}


def build_batch_summary(batch: Batch, jobs: Sequence[Job]) -> dict[str, Any]:
    """Return the batch without its predictions."""
    counts = dict.fromkeys(PREDICTION_STATUS.values(), 0)
    for job in jobs:
        counts[PREDICTION_STATUS[job.status]] += 1
    batch_url = f"{batch.public_base_url}/v1/batches/{batch.id}"
    view: dict[str, Any] = {
        "id": batch.id,
        "status": "processing",
        "created_at": format_timestamp(batch.created_at),
        "total": len(batch.job_ids),
        "counts": counts,
        "urls": {"get": batch_url, "cancel": f"{batch_url}/cancel"},
    }
    if all(job.is_terminal for job in jobs):
        completion_times = [job.completed_at for job in jobs if job.completed_at]
        view["status"] = "completed"
        view["completed_at"] = format_timestamp(max(completion_times, default=batch.created_at))
    return view


def _build_short_view(job: Job) -> dict[str, Any]:
    return {
        "id": job.id,
        "status": PREDICTION_STATUS[job.status],
        "created_at": format_timestamp(job.created_at),
        "urls": _build_urls(job),
        "proxy": {"omitted": ["input", "logs", "output"]},
    }


def _build_urls(job: Job) -> dict[str, str]:
    prediction_url = _build_prediction_url(job)
    urls = {"get": prediction_url, "cancel": f"{prediction_url}/cancel"}
    # A null value would be a validation error in Replicate's Python client.
    return {**urls, "stream": job.stream_url} if job.stream_url else urls


def _build_prediction_url(job: Job) -> str:
    return f"{job.public_base_url}/v1/predictions/{job.id}"


def _build_page_url(job: Job) -> str:
    """Return the URL of the prediction's page in the console, which asks a browser to sign in."""
    return f"{job.public_base_url}/console/predictions/{job.tenant}/{job.id}"


def _build_optional_fields(job: Job) -> dict[str, Any]:
    """Return the fields that a prediction has only once they are known."""
    fields: dict[str, Any] = {}
    if job.started_at:
        fields["started_at"] = format_timestamp(job.started_at)
    if job.is_terminal and job.completed_at:
        fields["completed_at"] = format_timestamp(job.completed_at)
    if job.deadline:
        fields["deadline"] = format_timestamp(job.deadline)
    if job.webhook:
        fields["webhook"] = job.webhook
    if job.webhook_events is not None:
        fields["webhook_events_filter"] = list(job.webhook_events)
    if job.submission.kind == "deployments":
        fields["deployment"] = job.submission.model_name
    return fields


def _build_metrics(job: Job) -> dict[str, Any]:
    total = (job.completed_at - job.created_at).total_seconds() if job.completed_at else 0.0
    return {"total_time": max(total, 0.0), **job.metrics}


def _build_proxy_field(job: Job, files: Any, logs: Any) -> dict[str, Any]:
    batch: dict[str, Any] = {"batch_id": job.batch_id} if job.batch_id else {}
    if job.batch_line is not None:
        batch |= {"batch_line": job.batch_line, "custom_id": job.custom_id}
    retried = {"retried_from": job.retried_from} if job.retried_from else {}
    metadata = {"metadata": dict(job.metadata)} if job.metadata else {}
    requested = {"requested_model": job.requested_model} if job.requested_model else {}
    warnings = {"warnings": list(job.warnings)} if job.warnings else {}
    is_waiting = job.status is JobStatus.QUEUED and job.waiting is not None
    waiting = {"waiting": _build_waiting(job.waiting)} if is_waiting and job.waiting else {}
    cost = {"cost": build_cost(job.cost, job.account)} if job.cost else {}
    expiry = {"expires_at": format_timestamp(job.delete_at)} if job.delete_at else {}
    account = {"replicate_account": job.replicate_account} if job.replicate_account else {}
    return {
        "status": job.status.value,
        **waiting,
        **batch,
        **retried,
        **metadata,
        **requested,
        **cost,
        **warnings,
        **account,
        **expiry,
        "timeline": {step.value: format_timestamp(time) for step, time in job.timeline.items()},
        "attempt": job.attempt,
        "past_attempts": [
            _build_past_attempt(past_attempt, job.account) for past_attempt in job.past_attempts
        ],
        "replicate_id": job.replicate_id,
        "replicate_status": job.replicate_status,
        "report_channel": job.report_channel,
        "files": files or [],
        "progress": parse_progress(logs) if isinstance(logs, str) else None,
        "stream": _describe_stream(job),
    }


def _describe_stream(job: Job) -> str:
    """Return whether `urls.stream` is there, and why not: clients only say that the model does not stream."""
    if job.stream_url:
        return "available"
    return "not_known_yet" if job.status in _BEFORE_SUBMISSION else "not_supported"


def build_cost(cost: Cost, account: Account) -> dict[str, Any]:
    """Return what a job cost, or why that is not known."""
    billed_to = {} if account.is_shared else {"billed_to": "tenant"}
    if cost.micro_usd is None:
        return {"usd": None, "reason": cost.reason, **billed_to}
    origin = {"source": cost.source, "as_of": cost.as_of} if cost.source else {}
    return {
        "usd": format_usd(cost.micro_usd),
        "estimated": cost.is_estimated,
        "basis": cost.basis,
        **origin,
        **billed_to,
    }


def _build_waiting(waiting: Waiting) -> dict[str, Any]:
    """Return why the job waits. A limit is named `tenant`, or `model` and the name of its entry."""
    if waiting.limit:
        kind, _, name = waiting.limit.partition("/")
        limit = f"{kind} {name}" if kind == "model" else kind
        return {
            "reason": waiting.reason.value,
            "limit": limit,
            "max_concurrency": waiting.max_concurrency,
        }
    return {
        "reason": waiting.reason.value,
        **({"detail": waiting.detail} if waiting.detail else {}),
        **({"until": format_timestamp(waiting.until)} if waiting.until else {}),
    }


def _build_past_attempt(past_attempt: PastAttempt, account: Account) -> dict[str, Any]:
    return {
        "attempt": past_attempt.attempt,
        "outcome": past_attempt.outcome.value,
        "replicate_id": past_attempt.replicate_id,
        **({"target": past_attempt.target} if past_attempt.target else {}),
        "error": past_attempt.error,
        "ended_at": format_timestamp(past_attempt.ended_at),
        **({"cost": build_cost(past_attempt.cost, account)} if past_attempt.cost else {}),
    }
