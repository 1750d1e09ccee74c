"""Events on the bus: past tense, in one versioned envelope. docs/events.md documents them. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from replicate_proxy.clock import format_timestamp, parse_timestamp
from replicate_proxy.errors import PermanentError
from replicate_proxy.ids import generate_id

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime


EVENT_VERSION = 1


class EventName(StrEnum):
    """The detail types on the bus."""

    PREDICTION_STARTED = "PredictionStarted"
    PREDICTION_PROGRESSED = "PredictionProgressed"
    PREDICTION_COMPLETED = "PredictionCompleted"
    JOB_STATUS_CHANGED = "JobStatusChanged"
    ENDPOINT_DISABLED = "EndpointDisabled"


class EventSource(StrEnum):
    """Who says so: Replicate (heard by webhook or poll), or our own jobs."""

    UPSTREAM = "replicate-proxy.upstream"
    JOBS = "replicate-proxy.jobs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One entry on the bus. `event_id` is unique per event, `correlation_id` the same from request to
    delivery.
    """

    name: EventName
    source: EventSource
    event_id: str
    correlation_id: str
    created_at: datetime
    data: Mapping[str, Any]

    @classmethod
    def new(
        cls,
        name: EventName,
        source: EventSource,
        *,
        correlation_id: str,
        now: datetime,
        data: Mapping[str, Any],
    ) -> Event:
        return cls(
            name=name,
            source=source,
            event_id=generate_id(now),
            correlation_id=correlation_id,
            created_at=now,
            data=data,
        )

    def detail(self) -> str:
        """The entry's `Detail`: the envelope as JSON text."""
        metadata = {
            "event_id": self.event_id,
            "event_name": self.name,
            "event_source": self.source,
            "event_version": EVENT_VERSION,
            "correlation_id": self.correlation_id,
            "created_at": format_timestamp(self.created_at),
        }
        return json.dumps({"metadata": metadata, "data": self.data}, ensure_ascii=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionReport:
    """The data of the three Prediction events: what Replicate said about one attempt of one job.

    `prediction` is Replicate's body as it came, or None where it lies under the object key `prediction_ref`.
    """

    tenant: str
    job_id: str
    attempt: int
    status: str
    via: str
    received_at: datetime
    correlation_id: str = ""
    prediction: Mapping[str, Any] | None = None
    prediction_ref: str | None = None

    def to_data(self) -> dict[str, Any]:
        data: dict[str, Any] = {
            "tenant": self.tenant,
            "job_id": self.job_id,
            "attempt": self.attempt,
            "status": self.status,
            "via": self.via,
            "received_at": format_timestamp(self.received_at),
        }
        if self.prediction_ref is not None:
            return {**data, "prediction_ref": self.prediction_ref}
        return {**data, "prediction": self.prediction}

    @classmethod
    def from_queue(cls, body: str) -> PredictionReport:
        """From the EventBridge entry that a rule put on a queue. Raises PermanentError on anything else."""
        try:
            detail = json.loads(body)["detail"]
            metadata, data = detail["metadata"], detail["data"]
            if metadata["event_version"] != EVENT_VERSION:
                raise PermanentError(f"event version {metadata['event_version']} is not known here")
            return cls(
                tenant=data["tenant"],
                job_id=data["job_id"],
                attempt=int(data["attempt"]),
                status=data["status"],
                via=data["via"],
                received_at=parse_timestamp(data["received_at"]),
                correlation_id=metadata["correlation_id"],
                prediction=data.get("prediction"),
                prediction_ref=data.get("prediction_ref"),
            )
        except (ValueError, TypeError, KeyError) as error:
            raise PermanentError(f"not a prediction event: {type(error).__name__}") from error


def event_name_of(status: str, *, first_seen: bool) -> EventName:
    """The detail type for Replicate's status word."""
    if status in {"succeeded", "failed", "canceled", "aborted"}:
        return EventName.PREDICTION_COMPLETED
    return EventName.PREDICTION_STARTED if first_seen else EventName.PREDICTION_PROGRESSED
