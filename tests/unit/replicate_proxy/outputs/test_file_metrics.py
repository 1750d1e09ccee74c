"""The metric and the log fields of a harvested file."""

from __future__ import annotations

import json

import pytest

from replicate_proxy.outputs import file_metrics
from replicate_proxy.outputs.records import FileOutcome, FileRecord

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


def test_log_fields_have_no_content_and_no_url() -> None:
    fields = file_metrics.build_log_fields(RECORD)

    assert "secret" not in json.dumps(fields)
    assert fields["reason"] == "too_slow"


def test_record_counts_file_by_outcome_and_reason(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", "ReplicateProxy")

    file_metrics.record(RECORD)

    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if "FileHarvested" in line]
    assert [(line["FileHarvested"], line["outcome"], line["reason"]) for line in lines] == [
        ([1.0], "not_stored", "too_slow")
    ]
