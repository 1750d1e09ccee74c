"""Reports from Replicate: published on the bus by webhook and sweep, read from it by track and harvest.

An event is limited in size, so a large prediction is stored in S3 and the event carries its object key (the
claim check pattern). The objects are under `events/` and expire by a lifecycle rule of the bucket.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from replicate_proxy.clock import parse_optional_timestamp
from replicate_proxy.ids import generate_id
from replicate_proxy.jobs.changes import Reported
from replicate_proxy.replicate_api.models import UpstreamPrediction, UpstreamStatus

if TYPE_CHECKING:
    from datetime import datetime

    from replicate_proxy.contracts.events import PredictionReport
    from replicate_proxy.jobs.model import Document, Job
    from replicate_proxy.ports import DocumentStore, EventBus


# An EventBridge entry may have 256 kB (Amazon EventBridge quotas); the envelope and JSON escapes need room.
_MAX_INLINE_BYTES = 180_000
_MAX_ERROR_CHARACTERS = 4000


class ObjectStore(Protocol):
    """JSON objects by key."""

    def put(self, key: str, body: bytes) -> str: ...

    def read(self, key: str) -> bytes: ...


class ReportPublisher:
    """Publishes reports as events on the bus."""

    def __init__(
        self, bus: EventBus, objects: ObjectStore, *, max_inline_bytes: int = _MAX_INLINE_BYTES
    ) -> None:
        self._bus = bus
        self._objects = objects
        self._max_inline_bytes = max_inline_bytes

    def publish(self, report: PredictionReport, *, size_bytes: int, has_progress: bool = False) -> None:
        """Publish the report, whose prediction is `size_bytes` long. Raises RetryableError on failure."""
        if size_bytes > self._max_inline_bytes:
            report = self._offload(report)
        self._bus.publish([report.to_event(has_progress=has_progress)])

    def _offload(self, report: PredictionReport) -> PredictionReport:
        """Store the prediction in S3 and return the report with its object key instead."""
        key = f"events/{report.tenant}/{report.job_id}/{generate_id(report.received_at)}.json"
        body = json.dumps(report.prediction, ensure_ascii=False).encode("utf-8", "surrogatepass")
        self._objects.put(key, body)
        return replace(report, prediction=None, prediction_object_key=key)


class ReportLoader:
    """Restores reports whose prediction is in S3."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects

    def load(self, report: PredictionReport) -> PredictionReport:
        """Return the report with its prediction. Raises NotFoundError if it is gone, RetryableError."""
        if report.prediction_object_key is None:
            return report
        prediction = json.loads(self._objects.read(report.prediction_object_key))
        return replace(report, prediction=prediction, prediction_object_key=None)


def build_report_change(
    report: PredictionReport, job: Job, documents: DocumentStore, *, lease_until: datetime | None = None
) -> Reported:
    """Return the change that a loaded report makes to the job; a harvester passes its `lease_until`.

    The output and the logs are stored as documents before the change refers to them. Raises RetryableError if
    they cannot be stored, PermanentError if the report holds no valid prediction.
    """
    prediction = UpstreamPrediction.parse(report.prediction or {})
    return Reported(
        attempt=report.attempt,
        replicate_id=prediction.id,
        status=prediction.status.value,
        channel=report.channel,
        model=prediction.model or None,
        version=prediction.version or None,
        started_at=_parse_time(prediction.started_at),
        completed_at=_parse_time(prediction.completed_at),
        output=_save_output(prediction, job, report.attempt, documents),
        logs=_save_logs(prediction, job, report.attempt, documents),
        error=prediction.error[:_MAX_ERROR_CHARACTERS] if prediction.error else None,
        metrics=prediction.metrics,
        lease_until=lease_until,
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


def _parse_time(text: str | None) -> datetime | None:
    """Return the time, or None if it cannot be parsed: an unparsable timestamp must not fail the job."""
    try:
        return parse_optional_timestamp(text)
    except ValueError:
        return None
