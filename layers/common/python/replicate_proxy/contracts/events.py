"""The events on the bus, in one versioned envelope; docs/events.md documents them. No I/O."""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from replicate_proxy.clock import format_timestamp, parse_timestamp
from replicate_proxy.errors import PermanentError
from replicate_proxy.ids import generate_id
from replicate_proxy.jobs.model import ReportChannel

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime


EVENT_VERSION = 1

_TERMINAL_REPLICATE_STATUSES = frozenset({"succeeded", "failed", "canceled", "aborted"})


class EventName(StrEnum):
    """The detail types on the bus."""

    PREDICTION_STARTED = "PredictionStarted"
    PREDICTION_PROGRESSED = "PredictionProgressed"
    PREDICTION_COMPLETED = "PredictionCompleted"
    JOB_STATUS_CHANGED = "JobStatusChanged"
    ENDPOINT_DISABLED = "EndpointDisabled"
    BUDGET_THRESHOLD_REACHED = "BudgetThresholdReached"


class EventSource(StrEnum):
    """Where an event originates: at Replicate (received by webhook or poll), or in our own records."""

    UPSTREAM = "replicate-proxy.upstream"
    JOBS = "replicate-proxy.jobs"
    BUDGETS = "replicate-proxy.budgets"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One entry on the bus; `correlation_id` stays the same from the request to the webhook deliveries."""

    name: EventName
    source: EventSource
    event_id: str
    correlation_id: str
    created_at: datetime
    data: Mapping[str, Any]

    @classmethod
    def create(
        cls,
        name: EventName,
        source: EventSource,
        *,
        correlation_id: str,
        now: datetime,
        data: Mapping[str, Any],
    ) -> Event:
        """Return an event with a new ID."""
        return cls(
            name=name,
            source=source,
            event_id=generate_id(now),
            correlation_id=correlation_id,
            created_at=now,
            data=data,
        )

    def to_detail(self) -> str:
        """Return the entry's `Detail`: the envelope as JSON text."""
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
    """What Replicate reported about one attempt of one job: the data of the three Prediction events.

    `status` is Replicate's own word. `prediction` is Replicate's body, or None where it is too large for an
    event and stored in S3 under `prediction_object_key`. A continuation of a harvest has neither.
    `replicate_account` is the tenant's own account that reports, empty for the shared one.
    """

    tenant: str
    job_id: str
    attempt: int
    status: str
    channel: ReportChannel
    received_at: datetime
    correlation_id: str = ""
    prediction: Mapping[str, Any] | None = None
    prediction_object_key: str | None = None
    replicate_account: str = ""

    def to_event(self, *, has_progress: bool = False) -> Event:
        """Return the report's event; `has_progress` if it reports progress of a running prediction."""
        if self.status in _TERMINAL_REPLICATE_STATUSES:
            name = EventName.PREDICTION_COMPLETED
        else:
            name = EventName.PREDICTION_PROGRESSED if has_progress else EventName.PREDICTION_STARTED
        return Event.create(
            name,
            EventSource.UPSTREAM,
            correlation_id=self.correlation_id,
            now=self.received_at,
            data=self.to_data(),
        )

    def to_data(self) -> dict[str, Any]:
        """Return the event's `data`."""
        data: dict[str, Any] = {
            "tenant": self.tenant,
            "job_id": self.job_id,
            "attempt": self.attempt,
            "status": self.status,
            "channel": self.channel.value,
            "received_at": format_timestamp(self.received_at),
        }
        if self.replicate_account:
            data["replicate_account"] = self.replicate_account
        if self.prediction_object_key is not None:
            return {**data, "prediction_object_key": self.prediction_object_key}
        return {**data, "prediction": self.prediction}

    @classmethod
    def from_queue_message(cls, body: str) -> PredictionReport:
        """Parse the EventBridge entry that a rule put on a queue. Raises PermanentError on anything else."""
        try:
            detail = json.loads(body)["detail"]
            metadata, data = detail["metadata"], detail["data"]
            if metadata["event_version"] != EVENT_VERSION:
                raise PermanentError(f"event_version {metadata['event_version']} is not supported")
            return cls(
                tenant=data["tenant"],
                job_id=data["job_id"],
                attempt=int(data["attempt"]),
                status=data["status"],
                channel=ReportChannel(data["channel"]),
                received_at=parse_timestamp(data["received_at"]),
                correlation_id=metadata["correlation_id"],
                prediction=data.get("prediction"),
                prediction_object_key=data.get("prediction_object_key"),
                replicate_account=data.get("replicate_account", ""),
            )
        except (ValueError, TypeError, KeyError) as error:
            raise PermanentError(f"the message is not a prediction event: {type(error).__name__}") from error
