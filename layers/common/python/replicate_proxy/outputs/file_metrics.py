"""Record a metric and a log line for each harvested file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aws_lambda_powertools import single_metric
from aws_lambda_powertools.metrics import MetricUnit

from replicate_proxy.observability import logger

if TYPE_CHECKING:
    from replicate_proxy.outputs.records import FileRecord


def record(file_record: FileRecord) -> None:
    """Count `FileHarvested` by outcome and reason, and log the file; a degraded outcome is a warning."""
    log = logger.warning if file_record.outcome.is_degraded else logger.info
    log("file harvested", extra=build_log_fields(file_record))
    with single_metric(name="FileHarvested", unit=MetricUnit.Count, value=1) as metric:
        metric.add_dimension(name="outcome", value=file_record.outcome)
        metric.add_dimension(name="reason", value=file_record.reason or "none")


def build_log_fields(file_record: FileRecord) -> dict[str, Any]:
    """Return what may be logged: neither content nor URLs, only the host of the source."""
    return {
        "outcome": file_record.outcome,
        "reason": file_record.reason,
        "kind": file_record.kind,
        "format": file_record.format,
        "source_host": file_record.source_host,
        "source_sha256": file_record.source_sha256,
        "bytes_before": file_record.bytes_before,
        "bytes_after": file_record.bytes_after,
        "width": file_record.width,
        "height": file_record.height,
    }
