"""The hops of a job through the pipeline, each with its time and the evidence that it happened."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tools.local.demo.evidence import StoredFile


@dataclass(frozen=True)
class Hop:
    """A hop. `evidence` says what shows that it happened.

    `at` is its time in the job's timeline, None if that has none. `at_elsewhere` is what Replicate or S3 has
    recorded: it is of another clock, or in whole seconds, so a hop can seem to happen before the one that led
    to it.
    """

    name: str
    happened: bool
    at: datetime | None
    evidence: str
    at_elsewhere: datetime | None = None


_RECORDED_HOPS = {
    "accepted": "accepted by API Gateway and ingest",
    "claimed": "received from the queue by dispatch",
    "submitted": "created on Replicate",
    "started": "started on Replicate",
    "reported": "completion reported",
    "finished": "job finished",
}
"""Names by the step in the job's timeline, in the order of the pipeline."""


def list_recorded_hops(timeline: Mapping[str, str]) -> list[tuple[str, datetime | None]]:
    """Return name and time of each hop in a job's timeline, those that did not happen yet included."""
    return [(name, parse_time(timeline.get(step))) for step, name in _RECORDED_HOPS.items()]


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
    times = {step: parse_time(proxy["timeline"].get(step)) for step in _RECORDED_HOPS}
    replicate_id = replicate_prediction.get("id")
    is_known = replicate_id is not None and replicate_id == proxy.get("replicate_id")

    def build_hop(step: str, evidence: str, *, is_confirmed: bool = True) -> Hop:
        happened = is_confirmed and times[step] is not None
        return Hop(_RECORDED_HOPS[step], happened, times[step] if happened else None, evidence)

    started_at = parse_time(replicate_prediction.get("started_at")) if is_known else None
    completed_at = parse_time(replicate_prediction.get("completed_at")) if is_known else None
    # Replicate reports the start only where a webhook asks for it.
    started = Hop(
        _RECORDED_HOPS["started"],
        started_at is not None,
        times["started"] if started_at else None,
        "Replicate's record",
        started_at,
    )
    is_reported = channel == "poll" or webhook_accepted is not False
    return [
        build_hop("accepted", "201, and the job's record"),
        build_hop("claimed", "the lease in the job's record"),
        build_hop("submitted", f"Replicate's record {replicate_id}", is_confirmed=is_known),
        started,
        Hop("completed on Replicate", completed_at is not None, None, "Replicate's record", completed_at),
        build_hop("reported", _describe_report(channel, webhook_accepted), is_confirmed=is_reported),
        *(
            Hop("output in S3", file.is_complete, None, f"HEAD and GET agree on {file.key}", file.stored_at)
            for file in files
        ),
        build_hop("finished", "the job's record", is_confirmed=prediction["status"] == "succeeded"),
        Hop(
            "application notified",
            notified_at is not None,
            notified_at,
            "signed webhook, verified with standardwebhooks",
        ),
    ]


def _describe_report(channel: str | None, webhook_accepted: bool | None) -> str:
    if channel == "poll":
        return "the proxy's GET of the prediction at Replicate"
    if webhook_accepted:
        return "Replicate got a 2xx for its signed webhook, and the bus passed it to harvest"
    return "signature of Replicate's webhook"


def parse_time(text: str | None) -> datetime | None:
    """Parse an ISO 8601 time with any number of fractional digits: Replicate's have 3 to 9."""
    return datetime.fromisoformat(text).astimezone(UTC) if text else None
