import json

from rich.text import Text

from tools.local.logs import LogEntry, format_entry

NOON_MS = 1_795_435_200_000  # 2026-11-23T12:00:00Z


def _format(text: str) -> str:
    return Text.from_markup(format_entry(LogEntry(NOON_MS, "harvest", text))).plain


def test_structured_entry_shows_its_message_and_its_own_keys() -> None:
    record = {
        "level": "WARNING",
        "message": "file not compressed",
        "service": "replicate-proxy",
        "job_id": "01abc",
    }

    assert _format(json.dumps(record)) == "12:00:00.000 harvest   WARNING file not compressed job_id=01abc"


def test_brackets_in_a_message_are_not_markup() -> None:
    assert _format(json.dumps({"message": "list [bold]"})).rstrip().endswith("list [bold]")


def test_other_entries_are_shown_unchanged() -> None:
    assert _format("REPORT RequestId: 1\n") == "12:00:00.000 harvest   REPORT RequestId: 1"
    assert _format('"text"') == '12:00:00.000 harvest   "text"'
