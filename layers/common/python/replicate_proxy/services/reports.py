"""From what Replicate said to the change it makes to a job."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicate_proxy.clock import parse_optional_timestamp
from replicate_proxy.jobs.changes import Reported
from replicate_proxy.replicate_api.models import UpstreamPrediction, UpstreamStatus

if TYPE_CHECKING:
    from datetime import datetime

    from replicate_proxy.jobs.model import Document, Job
    from replicate_proxy.ports import DocumentStore


_MOST_ERROR_CHARACTERS = 4000


def build_report_change(
    prediction: UpstreamPrediction,
    job: Job,
    *,
    attempt: int,
    via: str,
    documents: DocumentStore,
    lease_until: datetime | None = None,
) -> Reported:
    """The change; output and logs are kept as documents first, so that the job itself stays small."""
    output: Document | None = None
    if prediction.status is UpstreamStatus.SUCCEEDED:
        output = documents.keep(job.tenant, job.id, f"source-{attempt}", prediction.output)
    # By status, so that late news of a running prediction does not overwrite the logs of a finished one.
    name = f"logs-{attempt}-{prediction.status.value}"
    logs = documents.keep(job.tenant, job.id, name, prediction.logs) if prediction.logs else None
    return Reported(
        attempt=attempt,
        replicate_id=prediction.id,
        status=prediction.status.value,
        via=via,
        model=prediction.model or None,
        version=prediction.version or None,
        started_at=_time(prediction.started_at),
        completed_at=_time(prediction.completed_at),
        output=output,
        logs=logs,
        error=prediction.error[:_MOST_ERROR_CHARACTERS] if prediction.error else None,
        metrics=prediction.metrics,
        lease_until=lease_until,
    )


def _time(text: str | None) -> datetime | None:
    """None also for a time that cannot be read: a wrong clock text must not stop a result."""
    try:
        return parse_optional_timestamp(text)
    except ValueError:
        return None
