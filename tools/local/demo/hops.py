"""The hops of one job, each with its time and with what shows that it happened. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tools.local.demo.evidence import StoredFile


@dataclass(frozen=True)
class Hop:
    """`at` is None where it did not happen; `proof` says who told so."""

    name: str
    at: datetime | None
    evidence: str

    @property
    def happened(self) -> bool:
        return self.at is not None


RECORDED = {
    "accepted": ("accepted by API Gateway and ingest", "201 and the job's record"),
    "claimed": ("taken from the queue by dispatch", "conditional write with a lease"),
    "submitted": ("created on Replicate", "its id on the job's record"),
    "reported": ("completion received", "signature of Replicate's webhook"),
    "harvesting": ("through the bus to harvest", "message of the bus rule"),
    "finished": ("job finished", "the job's record"),
}
"""Times in the job's own timeline, in order."""


def list_recorded_hops(timeline: Mapping[str, str]) -> list[Hop]:
    """What the job's record tells so far, for showing progress."""
    return [Hop(name, parse_time(timeline.get(key)), proof) for key, (name, proof) in RECORDED.items()]


def verify_hops(
    *,
    record: Mapping[str, Any],
    replicate_prediction: Mapping[str, Any],
    webhook_accepted: bool | None,
    files: Sequence[StoredFile],
    notified_at: datetime | None,
) -> list[Hop]:
    """All hops, each believed only where its own witness confirms it."""
    timeline, how = record["proxy"]["timeline"], record["proxy"].get("report_channel")
    hops = dict(zip(RECORDED, list_recorded_hops(timeline), strict=True))
    same = replicate_prediction.get("id") == record["proxy"].get("replicate_id")
    created = parse_time(replicate_prediction.get("created_at")) if same else None
    reported = hops["reported"].at if how == "poll" or webhook_accepted is not False else None
    succeeded = hops["finished"].at if record["status"] == "succeeded" else None
    return [
        hops["accepted"],
        hops["claimed"],
        Hop("created on Replicate", created, f"Replicate's own record {replicate_prediction.get('id', '')}"),
        Hop(
            "started on Replicate",
            parse_time(replicate_prediction.get("started_at")),
            "Replicate's own record",
        ),
        Hop(
            "completed on Replicate",
            parse_time(replicate_prediction.get("completed_at")),
            "Replicate's own record",
        ),
        Hop(*_reported(how, webhook_accepted, reported)),
        hops["harvesting"],
        *_stored(files),
        Hop("job succeeded", succeeded, "the job's record"),
        Hop("application notified", notified_at, "signed webhook, verified with standardwebhooks"),
    ]


def _reported(
    how: str | None, answered: bool | None, at: datetime | None
) -> tuple[str, datetime | None, str]:
    if how == "poll":
        return "completion polled", at, "sweep asked Replicate"
    proof = "Replicate got a 2xx for its signed webhook" if answered else "signature of Replicate's webhook"
    return "webhook received", at, proof


def _stored(files: Sequence[StoredFile]) -> list[Hop]:
    """S3 tells whole seconds only, so the record's `finished` says the exact time."""
    return [
        Hop(
            "output in S3", file.stored_at if file.is_complete else None, f"HEAD {file.key} and its URL agree"
        )
        for file in files
    ]


def parse_time(text: str | None) -> datetime | None:
    """An ISO-8601 time with any number of fractional digits (Replicate's vary from 3 to 9)."""
    return datetime.fromisoformat(text).astimezone(UTC) if text else None
