"""The headers Cancel-After and Prefer."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_proxy.api.predictions.headers import parse_cancel_after, parse_prefer_wait
from replicate_proxy.errors import ApiError


@given(st.integers(0, 99), st.integers(0, 99), st.integers(0, 9999))
def test_cancel_after_adds_hours_minutes_and_seconds(hours: int, minutes: int, seconds: int) -> None:
    total = hours * 3600 + minutes * 60 + seconds
    text = f"{hours}h{minutes}m{seconds}s"
    if total >= 5:
        assert parse_cancel_after(text) == total
    else:
        with pytest.raises(ApiError):
            parse_cancel_after(text)


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30), ("5m", 300), ("1h30m45s", 5445), ("30", 30), (" 1h ", 3600), ("5", 5)]
)
def test_cancel_after_accepts_documented_forms(text: str, seconds: int) -> None:
    assert parse_cancel_after(text) == seconds


@given(st.text(max_size=12))
def test_cancel_after_rejects_other_text_with_an_api_error(text: str) -> None:
    with suppress(ApiError):
        assert parse_cancel_after(text) >= 5


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("wait", 60),
        ("wait=5", 5),
        ("wait=0", 0),
        ("wait=999", 60),
        ("wait=60000", 60),
        ("wait=2.5", 2),
        ("wait=0.5", 0),
        ('wait="7"', 7),
        ("Wait = 7", 7),
        ("respond-async, wait=10", 10),
        ("wait=10; x", 10),
        ("", None),
        ("respond-async", None),
        ("await=5", None),
        ("wait=abc", None),
        ("wait=-1", None),
        ('wait="7', None),
        ("waiting", None),
    ],
)
def test_prefer_wait_is_parsed(text: str, seconds: int | None) -> None:
    assert parse_prefer_wait(text) == seconds


@given(st.text(max_size=30))
def test_prefer_of_any_text_never_fails(text: str) -> None:
    seconds = parse_prefer_wait(text)
    assert seconds is None or 0 <= seconds <= 60


@given(st.integers(0, 10**400))
def test_prefer_wait_is_at_most_a_minute(seconds: int) -> None:
    assert parse_prefer_wait(f"wait={seconds}") == min(seconds, 60)
