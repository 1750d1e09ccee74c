import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.text import Text

from proxyctl.function_log import (
    FunctionLog,
    LogEntry,
    LogFilter,
    format_entry,
    read_entries,
    sort_entries,
)
from tools.local.errors import LocalError
from tools.local.logs import parse_duration

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
REPORT = "REPORT RequestId: 1\tDuration: 12 ms"


def format_text(text: str) -> str:
    return Text.from_markup(format_entry(LogEntry(NOON, "harvest", text))).plain


def make_event(text: str, *, seconds: float = 0, stream: str = "one") -> dict[str, Any]:
    """Return an event that the emulator wrote at the end of the invocation, `seconds` after noon."""
    timestamp = int((NOON + timedelta(seconds=seconds)).timestamp() * 1000)
    return {
        "logStreamName": stream,
        "timestamp": timestamp,
        "message": text,
    }


def make_record(message: str, seconds: float) -> str:
    """Return a record that Powertools wrote `seconds` after noon."""
    at = NOON + timedelta(seconds=seconds)
    timestamp = at.strftime("%Y-%m-%d %H:%M:%S,%f")[:-3] + "+0000"
    return json.dumps({"level": "INFO", "message": message, "timestamp": timestamp})


class _LogsClient:
    """CloudWatch Logs with one group, which returns the events from `startTime` on."""

    class exceptions:  # noqa: N801 - the name of boto3
        class ResourceNotFoundException(Exception):  # noqa: N818 - the name of boto3
            pass

    def __init__(self, events: list[dict[str, Any]]) -> None:
        self.events = events

    def get_paginator(self, _: str) -> "_LogsClient":
        return self

    def paginate(self, *, logGroupName: str, startTime: int) -> list[dict[str, Any]]:  # noqa: N803 - names of boto3
        assert logGroupName == "/aws/lambda/x"
        return [{"events": [event for event in self.events if event["timestamp"] >= startTime]}]


def test_structured_entry_shows_its_message_and_its_own_keys() -> None:
    record = {
        "level": "WARNING",
        "message": "file not compressed",
        "service": "replicate-proxy",
        "job_id": "01abc",
    }

    assert (
        format_text(json.dumps(record)) == "12:00:00.000 harvest   WARNING file not compressed job_id=01abc"
    )


def test_brackets_in_a_message_are_not_markup() -> None:
    assert format_text(json.dumps({"message": "list [bold]"})).rstrip().endswith("list [bold]")


def test_other_entries_are_shown_unchanged() -> None:
    assert format_text("REPORT RequestId: 1\n") == "12:00:00.000 harvest   REPORT RequestId: 1"
    assert format_text('"text"') == '12:00:00.000 harvest   "text"'


def test_entries_of_an_invocation_are_in_the_order_of_their_own_times() -> None:
    ingest = read_entries(
        "ingest",
        [make_event(make_record("z first", 1.0), seconds=9), make_event(make_record("a", 3.0), seconds=9)],
    )
    dispatch = read_entries("dispatch", [make_event(make_record("b", 2.0), seconds=4)])

    messages = [json.loads(entry.text)["message"] for entry in sort_entries([*ingest, *dispatch])]
    assert messages == ["z first", "b", "a"]


def test_entries_of_the_same_time_keep_their_order() -> None:
    events = [make_event(make_record(message, 1.0)) for message in ("z", "m", "a")]

    messages = [json.loads(entry.text)["message"] for entry in sort_entries(read_entries("ingest", events))]
    assert messages == ["z", "m", "a"]


def test_line_without_time_follows_the_record_before_it_in_its_stream() -> None:
    events = [
        make_event(make_record("begin", 1.0), seconds=9),
        make_event(make_record("other stream", 5.0), seconds=9, stream="two"),
        make_event("Traceback (most recent call last):", seconds=9),
        make_event("no record before it", seconds=7, stream="three"),
    ]

    times = [(entry.at - NOON).total_seconds() for entry in read_entries("ingest", events)]
    assert times == [1.0, 5.0, 1.0, 7.0]


@pytest.mark.parametrize("text", [REPORT, "START RequestId: 1", "END RequestId: 1", '{"_aws": {}}'])
def test_lines_of_lambda_and_metrics_are_hidden(text: str) -> None:
    assert not LogFilter().matches(text)


def test_reports_are_shown_when_asked_for() -> None:
    assert LogFilter(with_reports=True).matches(REPORT)
    assert not LogFilter(with_reports=True).matches("START RequestId: 1")


def test_filter_by_job_shows_entries_with_its_id_only() -> None:
    log_filter = LogFilter(job_id="01abc")

    assert log_filter.matches('{"message": "job accepted", "job_id": "01abc"}')
    assert log_filter.matches('{"message": "request handled", "path": "/v1/predictions/01abc"}')
    assert not log_filter.matches('{"message": "job accepted", "job_id": "01xyz"}')


def test_log_returns_each_entry_once_even_if_written_in_the_same_millisecond() -> None:
    client = _LogsClient([make_event("a"), make_event("b")])
    log = FunctionLog("ingest", "/aws/lambda/x", int(NOON.timestamp() * 1000))

    assert [entry.text for entry in log.read(client)] == ["a", "b"]
    client.events += [make_event("c"), make_event("d", seconds=1)]
    assert [entry.text for entry in log.read(client)] == ["c", "d"]
    assert log.read(client) == []


@pytest.mark.parametrize(("text", "seconds"), [("45s", 45), ("30m", 1800), ("2h", 7200), ("1d", 86400)])
def test_duration_has_a_unit(text: str, seconds: int) -> None:
    assert parse_duration(text).total_seconds() == seconds


@pytest.mark.parametrize("text", ["30000d", "999999d"])
def test_longest_durations_begin_after_1970(text: str) -> None:
    assert (datetime.now(UTC) - parse_duration(text)).timestamp() > 0


@pytest.mark.parametrize("text", ["", "5", "m", "-1m", "1 h", "1w", "99999999h"])
def test_other_durations_are_refused_with_an_example(text: str) -> None:
    with pytest.raises(LocalError, match="SINCE=45s"):
        parse_duration(text)
