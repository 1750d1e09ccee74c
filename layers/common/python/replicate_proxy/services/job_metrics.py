"""The metrics of jobs that end, whichever function ends them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicate_proxy.jobs.changes import Harvested, find_end_reason
from replicate_proxy.jobs.model import JobStatus, TimelineStep
from replicate_proxy.observability import Metric, count, record_seconds

if TYPE_CHECKING:
    from replicate_proxy.jobs.changes import Change
    from replicate_proxy.jobs.model import Job


_METRICS = {
    JobStatus.SUCCEEDED: Metric.JOB_SUCCEEDED,
    JobStatus.FAILED: Metric.JOB_FAILED,
    JobStatus.CANCELED: Metric.JOB_CANCELED,
}


def record_job_end(job: Job, change: Change) -> None:
    """Count the end by status and reason, and record how long the job and its harvest took.

    The other statuses are counted as 0, so that the metrics have values for the same minutes: where nothing
    succeeds, an alarm on the share of failures must not miss one of its operands.
    """
    ended_at = job.timeline[TimelineStep.FINISHED]
    for status, metric in _METRICS.items():
        if status is job.status:
            count(metric, reason=job.end_reason or find_end_reason(job, change))
        else:
            count(metric, 0)
    record_seconds(Metric.JOB_SECONDS, (ended_at - job.created_at).total_seconds())
    if isinstance(change, Harvested):
        completed_at = job.completed_at or ended_at
        record_seconds(Metric.HARVEST_SECONDS, (ended_at - completed_at).total_seconds())
