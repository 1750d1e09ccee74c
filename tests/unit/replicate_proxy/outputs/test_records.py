"""File records as JSON, and the state of a harvest."""

from __future__ import annotations

from replicate_proxy.outputs.records import FileOutcome, FileRecord, HarvestResult


def test_record_survives_json() -> None:
    record = FileRecord(
        ("a", 0),
        FileOutcome.NOT_STORED,
        "https://x/a",
        reason="too_slow",
        text={"seed": "1"},
        retryable=True,
    )

    assert FileRecord.from_json(record.to_json()) == record


def test_json_leaves_out_empty_values() -> None:
    assert FileRecord((), FileOutcome.STORED, "https://x").to_json() == {
        "path": [],
        "outcome": "stored",
        "url": "https://x",
        "kind": "unknown",
    }


def test_from_json_ignores_unknown_fields() -> None:
    values = {"path": [], "outcome": "not_stored", "url": "u", "color": "red"}

    assert FileRecord.from_json(values).url == "u"


def test_result_is_complete_when_no_file_remains() -> None:
    failed = FileRecord((0,), FileOutcome.NOT_STORED, "u", retryable=True)

    assert HarvestResult([], (failed,)).is_complete
    assert HarvestResult([], (failed,)).has_retryable_files
    assert not HarvestResult([], (), remaining=((0,),)).is_complete
