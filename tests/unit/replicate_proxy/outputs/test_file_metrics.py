"""The metrics and the log fields of harvested files."""

from __future__ import annotations

import json
from dataclasses import replace

from replicate_proxy.observability import Metric
from replicate_proxy.outputs import file_metrics
from replicate_proxy.outputs.records import FileOutcome, FileRecord
from tests.support.metrics import MetricsReader

RECORD = FileRecord(
    ("secret-path",),
    FileOutcome.NOT_STORED,
    url="https://cdn/secret-url",
    placeholder="secret-hash",
    original_key="secret-key",
    reason="too_slow",
    source_host="replicate.delivery",
    text={"prompt": "secret-prompt"},
)
COMPRESSED = FileRecord((0,), FileOutcome.COMPRESSED, "https://cdn/0", bytes_before=100, bytes_after=9)


def test_log_fields_have_no_content_and_no_url() -> None:
    fields = file_metrics.build_log_fields(RECORD)

    assert "secret" not in json.dumps(fields)
    assert fields["reason"] == "too_slow"


def test_files_are_counted_once_each_by_outcome_and_reason(emitted: MetricsReader) -> None:
    unreadable = replace(RECORD, outcome=FileOutcome.UNREADABLE, reason="broken")

    file_metrics.count_files([RECORD, RECORD, COMPRESSED, unreadable])

    assert emitted.sum_by(Metric.FILE_NOT_STORED, "outcome", "reason") == {("not_stored", "too_slow"): 2}
    assert emitted.sum_by(Metric.FILE_STORED, "outcome", "reason") == {
        ("compressed", "none"): 1,
        ("unreadable", "broken"): 1,
    }
    assert (emitted.sum(Metric.FILE_STORED), emitted.sum(Metric.FILE_NOT_STORED)) == (2, 2)


def test_bytes_of_compressed_images_are_counted(emitted: MetricsReader) -> None:
    file_metrics.count_files([COMPRESSED, COMPRESSED, RECORD])

    assert emitted.sum(Metric.IMAGE_BYTES_BEFORE) == 200
    assert emitted.sum(Metric.IMAGE_BYTES_AFTER) == 18


def test_url_of_other_host_is_not_counted_as_file_left_at_replicate(emitted: MetricsReader) -> None:
    file_metrics.count_files([replace(RECORD, reason="address_not_allowed")])

    assert emitted.sum(Metric.FILE_NOT_STORED) == 0
    assert emitted.sum(Metric.FILE_NOT_ALLOWED) == 1
