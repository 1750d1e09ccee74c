"""Translate what Replicate says about a prediction into the change of its job.

Separate from `services.reports`, so that the webhook function, which publishes reports, does not load the
imports of this module.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from replicate_proxy.clock import parse_optional_timestamp
from replicate_proxy.jobs.changes import Accepted, Reported, StaleChangeError
from replicate_proxy.replicate_api.models import UpstreamPrediction, UpstreamStatus

if TYPE_CHECKING:
    from datetime import datetime

    from replicate_proxy.contracts.events import PredictionReport
    from replicate_proxy.jobs.model import Document, Job
    from replicate_proxy.ports import DocumentStore


# Between Replicate's clock and ours.
_MAX_CLOCK_DIFFERENCE = timedelta(minutes=10)


def build_report_change(
    report: PredictionReport, job: Job, documents: DocumentStore, *, lease_until: datetime | None = None
) -> Reported:
    """Return the change after a loaded report; a harvester passes the `lease_until` of its lease.

    The output and the logs are stored as documents before the change refers to them. Raises RetryableError if
    they cannot be stored, PermanentError if the report holds no valid prediction, StaleChangeError if its
    status is not known.
    """
    if job.is_terminal:
        # Nothing may be stored over the documents that the job shows.
        raise StaleChangeError(f"a report about a job that is {job.status}")
    prediction = UpstreamPrediction.parse(report.prediction or {})
    if prediction.status is UpstreamStatus.UNKNOWN:
        raise StaleChangeError("the report has a status that is not documented")
    return Reported(
        attempt=report.attempt,
        replicate_id=prediction.id,
        status=prediction.status.value,
        channel=report.channel,
        model=prediction.model or None,
        version=prediction.version or None,
        started_at=_parse_time(prediction.started_at, job, report.received_at),
        completed_at=_parse_time(prediction.completed_at, job, report.received_at),
        output=_save_output(prediction, job, report.attempt, documents),
        logs=_save_logs(prediction, job, report.attempt, documents),
        error=prediction.error or None,
        metrics=prediction.metrics,
        lease_until=lease_until,
    )


def build_accepted_change(job: Job, prediction: UpstreamPrediction) -> Accepted:
    """Return the change after Replicate created the prediction for the job's current attempt."""
    return Accepted(
        attempt=job.attempt,
        replicate_id=prediction.id,
        model=prediction.model or None,
        version=prediction.version or None,
    )


def _save_output(
    prediction: UpstreamPrediction, job: Job, attempt: int, documents: DocumentStore
) -> Document | None:
    if prediction.status is not UpstreamStatus.SUCCEEDED:
        return None
    return documents.save(job.tenant, job.id, f"replicate-output-{attempt}", prediction.output)


def _save_logs(
    prediction: UpstreamPrediction, job: Job, attempt: int, documents: DocumentStore
) -> Document | None:
    if not prediction.logs:
        return None
    # The status is in the name, so that a late report of the running prediction does not overwrite the logs
    # of the finished one.
    name = f"logs-{attempt}-{prediction.status.value}"
    return documents.save(job.tenant, job.id, name, prediction.logs)


def _parse_time(text: str | None, job: Job, received_at: datetime) -> datetime | None:
    """Return the time, or None if it cannot be parsed or cannot be true.

    A wrong timestamp must not fail the job, nor end the harvest, which counts from it, too early or never.
    """
    try:
        moment = parse_optional_timestamp(text)
    except ValueError:
        return None
    is_plausible = moment is not None and (
        job.created_at - _MAX_CLOCK_DIFFERENCE <= moment <= received_at + _MAX_CLOCK_DIFFERENCE
    )
    return moment if is_plausible else None
