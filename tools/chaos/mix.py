"""What goes wrong, and how often: every rate of the run in one place."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

REFUSED = "chaos: refuse this"
"""A create whose body holds this gets a 422, every time."""


@dataclass(frozen=True)
class Fault:
    """One rule of the local Replicate, under the name it has in the report."""

    name: str
    rule: dict[str, Any]


def _fault(name: str, endpoint: str, kind: str, probability: float, **details: Any) -> Fault:
    return Fault(name, {"endpoint": endpoint, "kind": kind, "probability": probability, **details})


_UPSTREAM: tuple[Fault, ...] = (
    _fault("create refused (422)", "create", "status", 1, status=422, contains=REFUSED),
    _fault("create 429 with retry_after", "create", "status", 0.04, status=429, retry_after=2),
    _fault("create 429 without retry_after", "create", "status", 0.03, status=429),
    _fault("create 500", "create", "status", 0.015, status=500),
    _fault("create 503", "create", "status", 0.015, status=503, retry_after=2),
    _fault("create accepted, answered 500", "create", "status_after_accept", 0.035, status=500),
    _fault("create reset before accept", "create", "reset_before_accept", 0.02),
    _fault("create reset after accept", "create", "reset_after_accept", 0.05),
    _fault("create read timeout before accept", "create", "timeout_before_accept", 0.01, seconds=8),
    _fault("create read timeout after accept", "create", "timeout_after_accept", 0.015, seconds=8),
    _fault("create broken JSON", "create", "broken_json", 0.02),
    _fault("create truncated", "create", "truncated", 0.01),
    _fault("read 500", "get", "status", 0.03, status=500),
    _fault("read reset", "get", "reset_before_accept", 0.02),
    _fault("read broken JSON", "get", "broken_json", 0.02),
    _fault("read timeout", "get", "timeout_before_accept", 0.01, seconds=8),
    _fault("list 503", "list", "status", 0.03, status=503),
    _fault("list reset", "list", "reset_after_accept", 0.02),
    _fault("list broken JSON", "list", "broken_json", 0.02),
    _fault("list 429", "list", "status", 0.02, status=429, retry_after=1),
    _fault("cancel 500", "cancel", "status", 0.05, status=500),
    _fault("cancel reset after accept", "cancel", "reset_after_accept", 0.05),
    _fault("download 500", "download", "status", 0.12, status=500),
    _fault("download reset", "download", "reset_before_accept", 0.04),
    _fault("download truncated", "download", "truncated", 0.04),
    _fault("webhook lost", "webhook", "lose", 0.2),
    _fault("webhook duplicated", "webhook", "duplicate", 0.1),
    _fault("webhook reordered", "webhook", "reorder", 0.1, seconds=3),
    _fault("webhook late", "webhook", "delay", 0.1, seconds=15),
    _fault("webhook forged", "webhook", "forge", 0.05),
    _fault("webhook answer lost", "webhook", "bad_status", 0.03, status=504),
)

_OUTAGE_CALLS = 10  # in a row: the circuit breaker opens
_OUTAGE_AT = 0.35  # of the creates


def upstream(jobs: int) -> Sequence[Fault]:
    """The rules for a run of so many jobs, in the order in which they are tried."""
    begins = round(jobs * _OUTAGE_AT)
    outage = _fault(
        "create 503 in an outage", "create", "status", 1, status=503, after=begins, times=_OUTAGE_CALLS
    )
    return [outage, *_UPSTREAM]


@dataclass(frozen=True)
class AwsRates:
    """Of all calls of a service: `refused` before they do anything, `unanswered` after they did."""

    refused: dict[str, float] = field(
        default_factory=lambda: {"dynamodb": 0.006, "s3": 0.015, "sqs": 0.015, "events": 0.015}
    )
    unanswered: dict[str, float] = field(
        default_factory=lambda: {"dynamodb": 0.004, "s3": 0.006, "sqs": 0.008, "events": 0.008}
    )


AWS = AwsRates()

SPARED = ("NotifyFunction",)
"""Functions whose AWS calls work: the emulator takes a stream batch for done whatever failures it is told."""

DUPLICATED_COMMANDS = 0.1
"""Messages that are put on their queue a second time, as a share of all jobs."""

RECEIVER_FAILS = 0.08
"""Of the application's answers to our webhooks."""
