"""The faults of a run and their rates, except crashes (`tools.chaos.crashes`)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tools.chaos.workload import REJECTION_MARKER


@dataclass(frozen=True)
class UpstreamFault:
    """One fault rule of the local Replicate, and its name in the report."""

    name: str
    rule: dict[str, Any]


def _create_fault(
    name: str, endpoint: str, kind: str, probability: float, **conditions: Any
) -> UpstreamFault:
    rule = {"endpoint": endpoint, "kind": kind, "probability": probability, **conditions}
    return UpstreamFault(name, rule)


_UPSTREAM_FAULTS: tuple[UpstreamFault, ...] = (
    _create_fault("create rejected (422)", "create", "status", 1, status=422, contains=REJECTION_MARKER),
    _create_fault("create 429 with retry_after", "create", "status", 0.04, status=429, retry_after=2),
    _create_fault("create 429 without retry_after", "create", "status", 0.03, status=429),
    _create_fault("create 500", "create", "status", 0.015, status=500),
    _create_fault("create 503", "create", "status", 0.015, status=503, retry_after=2),
    _create_fault("create 500 after accept", "create", "status_after_accept", 0.035, status=500),
    _create_fault("create reset before accept", "create", "reset_before_accept", 0.02),
    _create_fault("create reset after accept", "create", "reset_after_accept", 0.05),
    _create_fault("create timeout before accept", "create", "timeout_before_accept", 0.01, seconds=8),
    _create_fault("create timeout after accept", "create", "timeout_after_accept", 0.015, seconds=8),
    _create_fault("create broken JSON", "create", "broken_json", 0.02),
    _create_fault("create truncated", "create", "truncated", 0.01),
    _create_fault("read 500", "get", "status", 0.03, status=500),
    _create_fault("read reset", "get", "reset_before_accept", 0.02),
    _create_fault("read broken JSON", "get", "broken_json", 0.02),
    _create_fault("read timeout", "get", "timeout_before_accept", 0.01, seconds=8),
    _create_fault("list 503", "list", "status", 0.03, status=503),
    _create_fault("list reset", "list", "reset_after_accept", 0.02),
    _create_fault("list broken JSON", "list", "broken_json", 0.02),
    _create_fault("list 429", "list", "status", 0.02, status=429, retry_after=1),
    _create_fault("cancel 500", "cancel", "status", 0.05, status=500),
    _create_fault("cancel reset after accept", "cancel", "reset_after_accept", 0.05),
    _create_fault("download 500", "download", "status", 0.12, status=500),
    _create_fault("download reset", "download", "reset_before_accept", 0.04),
    _create_fault("download truncated", "download", "truncated", 0.04),
    _create_fault("webhook lost", "webhook", "lose", 0.2),
    _create_fault("webhook duplicated", "webhook", "duplicate", 0.1),
    _create_fault("webhook reordered", "webhook", "reorder", 0.1, seconds=3),
    _create_fault("webhook delayed", "webhook", "delay", 0.1, seconds=15),
    _create_fault("webhook forged", "webhook", "forge", 0.05),
    _create_fault("webhook response lost", "webhook", "bad_status", 0.03, status=504),
)

_OUTAGE_CALLS = 10  # consecutive failures, enough to open the circuit breaker
_OUTAGE_START_SHARE = 0.35  # of the creates come before the outage


def build_upstream_faults(job_count: int) -> Sequence[UpstreamFault]:
    """Return the rules for a run with that many jobs, in the order in which they are tried."""
    first_call = round(job_count * _OUTAGE_START_SHARE)
    outage = _create_fault(
        "create 503 in an outage", "create", "status", 1, status=503, after=first_call, times=_OUTAGE_CALLS
    )
    return [outage, *_UPSTREAM_FAULTS]


AWS_REJECTED_RATES: Mapping[str, float] = {"dynamodb": 0.006, "s3": 0.015, "sqs": 0.015, "events": 0.015}
"""Shares of the calls of each service that fail without effect."""

AWS_RESPONSE_LOST_RATES: Mapping[str, float] = {
    "dynamodb": 0.004,
    "s3": 0.006,
    "sqs": 0.008,
    "events": 0.008,
}
"""Shares of the calls of each service that take effect but whose response is lost."""

DUPLICATED_MESSAGES_SHARE = 0.1
"""Messages that are sent a second time, as a share of all jobs."""

RECEIVER_FAILURE_SHARE = 0.08
"""Share of our webhooks that the application rejects."""
