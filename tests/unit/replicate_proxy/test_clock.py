"""Timestamps as text."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from replicate_proxy.clock import (
    format_optional_timestamp,
    format_timestamp,
    parse_optional_timestamp,
    parse_timestamp,
)

MOMENT = datetime(2026, 1, 31, 9, 30, 0, 125_000, tzinfo=UTC)
TEXT = "2026-01-31T09:30:00.125Z"


def test_timestamp_is_formatted_in_utc_with_milliseconds() -> None:
    assert format_timestamp(MOMENT.astimezone(timezone(timedelta(hours=2)))) == TEXT


@pytest.mark.parametrize("text", [TEXT, "2026-01-31T11:30:00.125000999+02:00"])
def test_timestamp_is_parsed_to_utc(text: str) -> None:
    moment = parse_timestamp(text)
    assert moment == MOMENT
    assert moment.tzinfo is UTC


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-31T09:30:00",
        "soon",
        "",
        "9999-12-31T23:59:59-12:00",
        "0001-01-01T00:00:00+12:00",
        "10000-01-01T00:00:00Z",
    ],
)
def test_parse_raises_value_error_without_offset_or_time(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_timestamp(text)


def test_optional_timestamps_pass_none() -> None:
    assert (format_optional_timestamp(None), parse_optional_timestamp(None)) == (None, None)
    assert (format_optional_timestamp(MOMENT), parse_optional_timestamp(TEXT)) == (TEXT, MOMENT)
