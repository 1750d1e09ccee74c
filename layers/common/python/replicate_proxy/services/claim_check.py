"""Bodies too large for an event travel by S3: the event carries the object's key (claim check)."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from replicate_proxy.ids import generate_id

if TYPE_CHECKING:
    from collections.abc import Mapping

    from replicate_proxy.contracts.events import PredictionReport


# An EventBridge entry may have 256 kB in all (Amazon EventBridge quotas); the envelope and JSON escapes need
# room.
_HEAVY_BYTES = 180_000


class ObjectStore(Protocol):
    """JSON objects by key."""

    def put(self, key: str, body: bytes) -> str: ...

    def read(self, key: str) -> bytes: ...


class ClaimCheck:
    """Hands heavy predictions in and out. Objects lie under `events/` and expire by lifecycle rule."""

    def __init__(self, objects: ObjectStore, *, heavy_bytes: int = _HEAVY_BYTES) -> None:
        self._objects = objects
        self._heavy_bytes = heavy_bytes

    def offload(self, report: PredictionReport, size: int) -> PredictionReport:
        if size <= self._heavy_bytes or report.prediction is None:
            return report
        key = f"events/{report.tenant}/{report.job_id}/{generate_id(report.received_at)}.json"
        self._objects.put(
            key, json.dumps(report.prediction, ensure_ascii=False).encode("utf-8", "surrogatepass")
        )
        return replace(report, prediction=None, prediction_ref=key)

    def load(self, report: PredictionReport) -> PredictionReport:
        """Return the report with its prediction inline. Raises NotFoundError, RetryableError."""
        if report.prediction_ref is None:
            return report
        return replace(report, prediction=self.prediction_of(report), prediction_ref=None)

    def prediction_of(self, report: PredictionReport) -> Mapping[str, Any]:
        """The prediction of a report, wherever it lies."""
        if report.prediction_ref is None:
            return report.prediction or {}
        loaded: Mapping[str, Any] = json.loads(self._objects.read(report.prediction_ref))
        return loaded
