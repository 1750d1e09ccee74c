"""The workload: the jobs that the application submits, in kinds and an order that the seed determines."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tools.simulator.models.model import compute_version_id

VERSION = f"local/lab:{compute_version_id('local/lab')}"
FALLBACK_MODEL = "chaos/with-fallback"
MODEL_ENTRIES: Mapping[str, Mapping[str, Any]] = {
    "local/lab": {"price": {"hardware": "gpu-t4"}},
    FALLBACK_MODEL: {
        "target": "local/lab",
        "price": {"hardware": "gpu-t4"},
        "fallbacks": [
            {
                "target": "local/stream-lab",
                "fields": {"status": None, "error": None},
                "price": {"hardware": "gpu-l40s"},
            }
        ],
    },
}
"""The model entries of a run, by name: prices, and a model that fails until its fallback runs."""
MODEL_ERROR = "chaos: the model failed"
TRANSIENT_ERROR = "Prediction interrupted; please retry (code: PA)"
REJECTION_MARKER = "chaos: reject this"
"""Replicate answers every create whose body contains this text with a 422 (`tools.chaos.faults`)."""


class JobKind(StrEnum):
    """What is planned to happen to a job."""

    IMAGE = "image"
    TEXT = "text"
    FAILING = "failing"
    TRANSIENT = "transient"
    FALLBACK = "fallback"
    REJECTED = "rejected"
    CANCELED = "canceled"


EXPECTED_STATUSES: Mapping[JobKind, frozenset[str]] = {
    JobKind.IMAGE: frozenset({"succeeded"}),
    JobKind.TEXT: frozenset({"succeeded"}),
    JobKind.FAILING: frozenset({"failed"}),
    JobKind.TRANSIENT: frozenset({"failed"}),
    JobKind.FALLBACK: frozenset({"succeeded"}),
    JobKind.REJECTED: frozenset({"failed"}),
    JobKind.CANCELED: frozenset({"canceled"}),
}
"""The final statuses that a job may have; any other one means that its outcome was lost."""

_SHARES: Mapping[JobKind, float] = {
    JobKind.IMAGE: 0.33,
    JobKind.TEXT: 0.33,
    JobKind.FAILING: 0.06,
    JobKind.TRANSIENT: 0.06,
    JobKind.FALLBACK: 0.06,
    JobKind.REJECTED: 0.06,
    JobKind.CANCELED: 0.10,
}
# Time until a prediction starts and reports it: immediately, or after the sweep has begun to resolve unknown
# outcomes.
_STARTUP_SECONDS = (0.1, 8.0)
_INPUTS: Mapping[JobKind, Mapping[str, Any]] = {
    JobKind.IMAGE: {"output": [{"$file": "png", "width": 64, "height": 64}], "latency": 0.5},
    JobKind.TEXT: {"output": "a text", "latency": 0.5},
    JobKind.FAILING: {"status": "failed", "error": MODEL_ERROR, "latency": 0.5},
    JobKind.TRANSIENT: {"status": "failed", "error": TRANSIENT_ERROR, "latency": 0.5},
    JobKind.FALLBACK: {"output": "a text", "status": "failed", "error": TRANSIENT_ERROR, "latency": 0.5},
    JobKind.REJECTED: {"output": REJECTION_MARKER},
    # Runs until it is canceled.
    JobKind.CANCELED: {"hold": True},
}
# Of every 20 consecutive jobs, the first five are one batch and the others are single requests.
_GROUP_SIZE = 20
_BATCH_SIZE = 5


@dataclass(frozen=True)
class PlannedJob:
    """One job to submit."""

    number: int
    idempotency_key: str
    kind: JobKind
    startup_seconds: float
    wants_webhook: bool

    def build_body(self, webhook_url: str) -> dict[str, Any]:
        """Return the body of the create request."""
        model_input = {**_INPUTS[self.kind], "startup": self.startup_seconds, "job": self.idempotency_key}
        model = FALLBACK_MODEL if self.kind is JobKind.FALLBACK else VERSION
        body: dict[str, Any] = {"version": model, "input": model_input}
        if self.wants_webhook:
            body |= {"webhook": webhook_url, "webhook_events_filter": ["completed"]}
        return body


def plan_jobs(count: int, seed: int) -> Sequence[PlannedJob]:
    """Return the jobs of a run: the same ones for the same seed."""
    rng = random.Random(seed)  # noqa: S311 - must be reproducible, guards no secret
    kinds = rng.choices(list(_SHARES), weights=list(_SHARES.values()), k=count)
    return [
        PlannedJob(
            number, f"chaos-{seed}-{number}", kind, rng.choice(_STARTUP_SECONDS), rng.choice((True, False))
        )
        for number, kind in enumerate(kinds)
    ]


def group_into_requests(jobs: Sequence[PlannedJob]) -> Sequence[Sequence[PlannedJob]]:
    """Return the jobs of each request, in order. A request for several jobs is a batch."""
    requests: list[Sequence[PlannedJob]] = []
    for start in range(0, len(jobs), _GROUP_SIZE):
        group = jobs[start : start + _GROUP_SIZE]
        requests.append(group[:_BATCH_SIZE])
        requests += [[job] for job in group[_BATCH_SIZE:]]
    return requests
