"""A log line and a metric for every harvested file: hash, format, size, reason; never content or address."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aws_lambda_powertools import single_metric
from aws_lambda_powertools.metrics import MetricUnit

from replicate_proxy.observability import logger

if TYPE_CHECKING:
    from replicate_proxy.outputs.records import FileRecord

__all__ = ["log_fields", "tell"]

_DEGRADED = frozenset({"left", "unreadable"})


def log_fields(record: FileRecord) -> dict[str, Any]:
    """What may be said about a file; the source's host is named, its address is not."""
    return {
        "outcome": record.outcome,
        "reason": record.reason,
        "kind": record.kind,
        "format": record.format,
        "source_host": record.source_host,
        "source_sha256": record.source_sha256,
        "bytes_before": record.bytes_before,
        "bytes_after": record.bytes_after,
        "width": record.width,
        "height": record.height,
    }


def tell(record: FileRecord) -> None:
    """`FileHarvested` with dimensions outcome and reason; a warning where the file is not as good as it
    should be.
    """
    say = logger.warning if record.outcome in _DEGRADED else logger.info
    say("file harvested", extra=log_fields(record))
    with single_metric(name="FileHarvested", unit=MetricUnit.Count, value=1) as metric:
        metric.add_dimension(name="outcome", value=record.outcome)
        metric.add_dimension(name="reason", value=record.reason or "none")
