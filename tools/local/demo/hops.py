"""The hops of a job through the pipeline, each with its time and the evidence that it happened."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tools.local.demo.evidence import StoredFile


@dataclass(frozen=True)
class Hop:
    """A hop. `at` is None if it did not happen; `evidence` says what shows that it happened."""

    name: str
    at: datetime | None
    evidence: str

    @property
    def happened(self) -> bool:
        return self.at is not None


_RECORDED_HOPS = {
    "accepted": ("accepted by API Gateway and ingest", "201, and the job's record"),
    "claimed": ("received from the queue by dispatch", "conditional write of a lease"),
    "submitted": ("created on Replicate", "Replicate's ID in the job's record"),
    "reported": ("completion reported", "signature of Replicate's webhook"),
    "harvesting": ("passed by the event bus to harvest", "message of the bus's rule"),
    "finished": ("job finished", "the job's record"),
}
"""(name, evidence) by the name of the step in the job's timeline, in the order of the pipeline."""


def list_recorded_hops(timeline: Mapping[str, str]) -> list[Hop]:
    """Return all hops that a job's timeline can show, those that did not happen yet included."""
    return [
        Hop(name, parse_time(timeline.get(step)), evidence)
        for step, (name, evidence) in _RECORDED_HOPS.items()
    ]


def verify_hops(
    *,
    prediction: Mapping[str, Any],
    replicate_prediction: Mapping[str, Any],
    webhook_accepted: bool | None,
    files: Sequence[StoredFile],
    notified_at: datetime | None,
) -> list[Hop]:
    """Return all hops. A hop counts as happened only if the service in which it happens confirms it.

    `prediction` is shown by our API, `replicate_prediction` by Replicate's; `notified_at` is when the
    application received a valid webhook.
    """
    proxy = prediction["proxy"]
    channel = proxy.get("report_channel")
    recorded = dict(zip(_RECORDED_HOPS, list_recorded_hops(proxy["timeline"]), strict=True))
    is_same = replicate_prediction.get("id") == proxy.get("replicate_id")
    created_at = parse_time(replicate_prediction.get("created_at")) if is_same else None
    is_report_confirmed = channel == "poll" or webhook_accepted is not False
    reported_at = recorded["reported"].at if is_report_confirmed else None
    succeeded_at = recorded["finished"].at if prediction["status"] == "succeeded" else None
    replicate_id = replicate_prediction.get("id", "")
    return [
        recorded["accepted"],
        recorded["claimed"],
        Hop("created on Replicate", created_at, f"Replicate's record {replicate_id}"),
        Hop(
            "started on Replicate",
            parse_time(replicate_prediction.get("started_at")),
            "Replicate's record",
        ),
        Hop(
            "completed on Replicate",
            parse_time(replicate_prediction.get("completed_at")),
            "Replicate's record",
        ),
        _build_report_hop(channel, webhook_accepted, reported_at),
        recorded["harvesting"],
        *(_build_storage_hop(file) for file in files),
        Hop("job succeeded", succeeded_at, "the job's record"),
        Hop("application notified", notified_at, "signed webhook, verified with standardwebhooks"),
    ]


def _build_report_hop(channel: str | None, webhook_accepted: bool | None, at: datetime | None) -> Hop:
    if channel == "poll":
        return Hop("completion polled", at, "request of the sweep to Replicate")
    if webhook_accepted:
        return Hop("webhook received", at, "Replicate got a 2xx for its signed webhook")
    return Hop("webhook received", at, "signature of Replicate's webhook")


def _build_storage_hop(file: StoredFile) -> Hop:
    return Hop(
        "output in S3",
        file.stored_at if file.is_complete else None,
        f"HEAD and GET agree on {file.key}",
    )


def parse_time(text: str | None) -> datetime | None:
    """Parse an ISO 8601 time with any number of fractional digits: Replicate's have 3 to 9."""
    return datetime.fromisoformat(text).astimezone(UTC) if text else None
