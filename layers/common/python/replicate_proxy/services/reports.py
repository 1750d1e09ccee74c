"""Publish Replicate's reports on the bus (webhook, sweep) and load them from it (track, harvest).

An event is limited in its size, its integers and the characters that a queue takes, so a prediction that
exceeds one of these is stored in S3 and the event carries its object key (the claim check pattern). The
objects are under `events/` and expire by a lifecycle rule of the bucket.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from replicate_proxy.contracts.events import PredictionReport
from replicate_proxy.ids import generate_id
from replicate_proxy.jobs.model import ReportChannel

if TYPE_CHECKING:
    from datetime import datetime

    from replicate_proxy.jobs.model import Job
    from replicate_proxy.ports import EventBus
    from replicate_proxy.replicate_api.models import UpstreamPrediction


# An EventBridge entry may have 1 MB, in the regions of China 256 kB (Amazon EventBridge API reference,
# PutEvents); the envelope and JSON escapes need room.
_MAX_INLINE_BYTES = 180_000

# EventBridge takes integers of 64 bits with a sign (same). Seeds of models can have 64 bits without one.
_MAX_INTEGER = str(2**63 - 1)
# As `json.dumps` writes one: after a bracket or a blank, and before what ends a value. IDs of versions are
# texts that can have as many digits.
_LONG_INTEGER = re.compile(rf"(?<=[\[ ])-?(\d{{{len(_MAX_INTEGER)},}})(?=[,\]}}])")

# SQS rejects a message with a character outside of XML's (Amazon SQS API reference, SendMessage). Of those,
# JSON escapes the control characters, and half a surrogate pair is not in what was read from Replicate.
_REJECTED_CHARACTERS = re.compile("[\ufffe\uffff]")


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

    def publish(self, report: PredictionReport, *, has_progress: bool = False) -> None:
        """Publish the report. Raises RetryableError on failure."""
        # Measured as the event has it: other white space, escapes and numbers than Replicate's body.
        text = json.dumps(report.prediction, ensure_ascii=False)
        prediction = text.encode()
        if len(prediction) > self._max_inline_bytes or not _fits_into_event(text):
            report = self._offload(report, prediction)
        self._bus.publish([report.to_event(has_progress=has_progress)])

    def _offload(self, report: PredictionReport, prediction: bytes) -> PredictionReport:
        """Store the prediction in S3 and return the report with its object key instead."""
        key = f"events/{report.tenant}/{report.job_id}/{generate_id(report.received_at)}.json"
        self._objects.put(key, prediction)
        return replace(report, prediction=None, prediction_object_key=key)


def _fits_into_event(text: str) -> bool:
    """Return whether EventBridge and SQS take all numbers and characters of a JSON text."""
    if _REJECTED_CHARACTERS.search(text):
        return False
    return all(
        len(digits) == len(_MAX_INTEGER) and digits <= _MAX_INTEGER for digits in _LONG_INTEGER.findall(text)
    )


def build_poll_report(job: Job, prediction: UpstreamPrediction, received_at: datetime) -> PredictionReport:
    """Return the report of a prediction that was read from Replicate for the present attempt of a job."""
    return PredictionReport(
        tenant=job.tenant,
        job_id=job.id,
        attempt=job.attempt,
        status=prediction.status.value,
        channel=ReportChannel.POLL,
        received_at=received_at,
        correlation_id=job.correlation_id,
        prediction=prediction.raw,
        replicate_account=job.replicate_account,
    )


class ReportLoader:
    """Loads the predictions of reports that have them in S3."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects

    def load(self, report: PredictionReport) -> PredictionReport:
        """Return the report with its prediction. Raises NotFoundError if it is gone, RetryableError."""
        if report.prediction_object_key is None:
            return report
        prediction = json.loads(self._objects.read(report.prediction_object_key))
        return replace(report, prediction=prediction, prediction_object_key=None)
