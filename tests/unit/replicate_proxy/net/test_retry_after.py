"""Retry-After headers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_proxy.net.retry_after import parse_retry_after

NOW = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120.0),
        (" 7 ", 7.0),
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90.0),
        (format_datetime(NOW - timedelta(seconds=90), usegmt=True), 0.0),
        ("Sat, 31 Jan 2026 09:31:00", 60.0),
        ("99999999999999999999", 999999999.0),
        ("Sat, 31 Jan 99999999999999999999 09:31:00 GMT", None),
        ("-5", None),
        ("2.5", 2.5),
        ("120.5", 120.5),
        ("1e3", None),
        ("Wed, 21 Oct 2026 07:28:00 +99999999999999999999", None),
        ("Fri, 31 Dec 9999 23:59:59 -1200", 999999999.0),
        ("soon", None),
        ("１２", None),
        ("", None),
        (None, None),
    ],
)
def test_parse_retry_after_returns_seconds_or_none(header: str | None, seconds: float | None) -> None:
    assert parse_retry_after(header, NOW) == seconds


@given(st.text(max_size=60))
def test_parse_retry_after_never_returns_negative_seconds(header: str) -> None:
    seconds = parse_retry_after(header, NOW)
    assert seconds is None or seconds >= 0
