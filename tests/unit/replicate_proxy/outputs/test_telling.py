"""What is logged and counted about a file."""

from __future__ import annotations

import json

import pytest

from replicate_proxy.outputs.harvester import build_log_fields, record
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


def test_no_content_and_no_address_is_ever_logged() -> None:
    assert "secret" not in json.dumps(build_log_fields(RECORD))
    assert build_log_fields(RECORD)["reason"] == "too_slow"


def test_each_file_counts_by_outcome_and_reason(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POWERTOOLS_METRICS_NAMESPACE", "ReplicateProxy")

    record(RECORD)

    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines() if "FileHarvested" in line]
    assert [(line["FileHarvested"], line["outcome"], line["reason"]) for line in lines] == [
        ([1.0], "not_stored", "too_slow")
    ]
