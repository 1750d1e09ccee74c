"""Translate what Replicate says about a prediction into the change of its job.

Separate from `services.reports`, so that the webhook function, which publishes reports, does not load the
imports of this module.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

from replicate_proxy.clock import parse_optional_timestamp
from replicate_proxy.jobs.changes import Accepted, Reported, StaleChangeError
from replicate_proxy.jobs.model import ReportChannel
from replicate_proxy.json_tree import find_strings
from replicate_proxy.outputs.references import is_file_reference
from replicate_proxy.replicate_api.models import UpstreamPrediction, UpstreamStatus

if TYPE_CHECKING:
    from datetime import datetime

    from replicate_proxy.contracts.events import PredictionReport
    from replicate_proxy.jobs.changes import EndedByProxy
    from replicate_proxy.jobs.model import Document, Job
    from replicate_proxy.ports import DocumentStore


# Between Replicate's clock and ours.
_MAX_CLOCK_DIFFERENCE = timedelta(minutes=10)
# A longer text is shown when it is complete, instead of being stored again and again.
_MAX_PARTIAL_OUTPUT_CHARACTERS = 500_000


def build_report_change(
    report: PredictionReport,
    job: Job,
    documents: DocumentStore,
    *,
    lease_until: datetime | None = None,
    private_folder: str | None = None,
) -> Reported:
    """Return the change after a loaded report; a harvester passes the end of its lease, and the job's
    `private_folder`.

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
    is_running = prediction.status is UpstreamStatus.PROCESSING
    if is_running and job.progress_at is not None and report.received_at < job.progress_at:
        raise StaleChangeError("a later report of the running prediction was applied before")
    return Reported(
        attempt=report.attempt,
        replicate_account=report.replicate_account,
        replicate_id=prediction.id,
        status=prediction.status.value,
        channel=report.channel,
        model=prediction.model or None,
        version=prediction.version or None,
        started_at=_parse_time(prediction.started_at, job, report.received_at),
        completed_at=_parse_time(prediction.completed_at, job, report.received_at),
        output=_save_output(prediction, job, report.attempt, documents),
        logs=_save_logs(prediction, job, report.attempt, documents),
        partial_output=_save_partial_output(prediction, job, report.attempt, documents),
        reported_at=report.received_at if is_running else None,
        error=prediction.error or None,
        metrics=prediction.metrics,
        lease_until=lease_until,
        private_folder=private_folder,
    )


def build_accepted_change(
    job: Job, prediction: UpstreamPrediction, *, stream_url: str | None = None
) -> Accepted:
    """Return the change after Replicate created the prediction for the job's current attempt."""
    return Accepted(
        attempt=job.attempt,
        replicate_id=prediction.id,
        model=prediction.model or None,
        version=prediction.version or None,
        stream_url=stream_url,
    )


def build_cancel_report(job: Job, prediction: UpstreamPrediction, now: datetime) -> Reported:
    """Return the report in the response to a cancel, without output and logs: another attempt follows."""
    return Reported(
        attempt=job.attempt,
        replicate_id=prediction.id,
        status=prediction.status.value,
        channel=ReportChannel.POLL,
        started_at=_parse_time(prediction.started_at, job, now),
        completed_at=_parse_time(prediction.completed_at, job, now),
        error=prediction.error or None,
        metrics=prediction.metrics,
    )


def build_end_change(
    end: EndedByProxy, job: Job, prediction: UpstreamPrediction, now: datetime
) -> EndedByProxy:
    """Return the end with what Replicate has just said about the ended prediction."""
    return replace(
        end,
        replicate_status=prediction.status.value,
        started_at=_parse_time(prediction.started_at, job, now),
        metrics=prediction.metrics,
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


def _save_partial_output(
    prediction: UpstreamPrediction, job: Job, attempt: int, documents: DocumentStore
) -> Document | None:
    """Store what a prediction without a result has written, unless it refers to files.

    What a failed or canceled one has written is what its stream has shown. It is stored under a name of its
    own, so that a late report of the running prediction does not overwrite it.

    A file is shown once it is stored: Replicate deletes its own, and `@ai-sdk/replicate` takes an output with
    the first of several images for the result.
    """
    output = prediction.output
    if prediction.status is UpstreamStatus.SUCCEEDED or not output:
        return None
    if next(find_strings(output, is_file_reference), None) is not None:
        return None
    if prediction.status.is_terminal:
        return documents.save(job.tenant, job.id, f"output-{attempt}-{prediction.status.value}", output)
    if len(json.dumps(output)) > _MAX_PARTIAL_OUTPUT_CHARACTERS:
        return None
    return documents.save(job.tenant, job.id, f"partial-output-{attempt}", output)


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
