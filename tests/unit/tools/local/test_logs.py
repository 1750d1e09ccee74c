import json

from rich.text import Text

from tools.local.logs import LogEntry, format_entry

NOON = 1_795_435_200_000  # 2026-11-23T12:00:00Z


def _plain(text: str) -> str:
    return Text.from_markup(format_entry(LogEntry(NOON, "harvest", text))).plain


def test_a_structured_entry_shows_its_sentence_and_its_own_keys() -> None:
    entry = {
        "level": "WARNING",
        "message": "file kept as it was",
        "service": "replicate-proxy",
        "job_id": "01abc",
    }

    assert _plain(json.dumps(entry)) == "12:00:00.000 harvest   WARNING file kept as it was job_id=01abc"


def test_brackets_in_a_message_are_text() -> None:
    assert _plain(json.dumps({"message": "list [bold]"})).rstrip().endswith("list [bold]")


def test_anything_else_is_shown_as_it_is() -> None:
    assert _plain("REPORT RequestId: 1\n") == "12:00:00.000 harvest   REPORT RequestId: 1"
    assert _plain('"text"') == '12:00:00.000 harvest   "text"'
