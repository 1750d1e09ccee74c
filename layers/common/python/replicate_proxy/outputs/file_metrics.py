"""Log each harvested file, and count the files of a job at its end."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from replicate_proxy.observability import Metric, count, logger
from replicate_proxy.outputs.records import FileOutcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from replicate_proxy.outputs.records import FileRecord


_METRICS = {Metric.FILE_STORED, Metric.FILE_NOT_STORED, Metric.FILE_NOT_ALLOWED}
_NOT_ALLOWED = "address_not_allowed"


def count_files(records: Sequence[FileRecord]) -> None:
    """Count every file of a job once, when the job has ended: a file may be tried in several rounds.

    A metric that none of the files increments is counted as 0, since an alarm compares the three.
    """
    if not records:
        return
    files = Counter((_choose_metric(record), record.outcome, record.reason) for record in records)
    for (metric, outcome, reason), number in files.items():
        count(metric, number, outcome=outcome, reason=reason or "none")
    for metric in _METRICS - {metric for metric, _, _ in files}:
        count(metric, 0)
    compressed = [record for record in records if record.outcome is FileOutcome.COMPRESSED]
    if compressed:
        count(Metric.IMAGE_BYTES_BEFORE, sum(record.bytes_before for record in compressed))
        count(Metric.IMAGE_BYTES_AFTER, sum(record.bytes_after for record in compressed))


def _choose_metric(record: FileRecord) -> Metric:
    if record.is_stored:
        return Metric.FILE_STORED
    # An output may hold the URL of any web page, which is not a file that would be lost.
    return Metric.FILE_NOT_ALLOWED if record.reason == _NOT_ALLOWED else Metric.FILE_NOT_STORED


def log_file(record: FileRecord) -> None:
    """Log a file that was harvested or could not be; a degraded outcome is a warning."""
    log = logger.warning if record.outcome.is_degraded else logger.info
    log("file harvested", extra=build_log_fields(record))


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
