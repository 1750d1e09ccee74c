"""A batch as our API shows it. Pure. Replicate has no such thing, so the shape is ours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from replicate_proxy.clock import iso
from replicate_proxy.contracts.api import CLIENT_STATUS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from replicate_proxy.jobs.batch import Batch
    from replicate_proxy.jobs.model import Job

__all__ = ["batch_view"]


def batch_view(batch: Batch, jobs: Sequence[Job], predictions: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The batch object. `predictions` are the jobs as rendered, from the first on, as many as a reply holds;
    the rest is told by id, status and address.
    """
    counts = dict.fromkeys(CLIENT_STATUS.values(), 0)
    for job in jobs:
        counts[CLIENT_STATUS[job.status]] += 1
    here = f"{batch.base_url}/v1/batches/{batch.id}"
    view: dict[str, Any] = {
        "id": batch.id,
        "status": "processing",
        "created_at": iso(batch.created_at),
        "total": len(batch.job_ids),
        "counts": counts,
        "predictions": [*predictions, *(_short(job) for job in jobs[len(predictions) :])],
        "urls": {"get": here, "cancel": f"{here}/cancel"},
    }
    ends = [job.completed_at for job in jobs if job.is_terminal and job.completed_at]
    if all(job.is_terminal for job in jobs):
        view["status"] = "completed"
        view["completed_at"] = iso(max(ends, default=batch.created_at))
    return view


def _short(job: Job) -> dict[str, Any]:
    here = f"{job.base_url}/v1/predictions/{job.id}"
    return {
        "id": job.id,
        "status": CLIENT_STATUS[job.status],
        "created_at": iso(job.created_at),
        "urls": {"get": here, "cancel": f"{here}/cancel"},
        "proxy": {"omitted": ["input", "logs", "output"]},
    }
